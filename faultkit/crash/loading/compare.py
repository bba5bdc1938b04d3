"""Compares what a load gave with what was saved, every element of every leaf, bit for bit.

What is equal, `faultkit.state_values` says; here it is counted.  An element may equal the new value, the old
one, both, or neither; what is still the sentinel that the load was to overwrite is counted apart.

Imports torch: for the processes that load.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from faultkit.crash.enumeration.state import GARBAGE, MIX, NEW, OLD
from faultkit.state_values import equal_elements, named_leaves, same, tensor_of

__all__ = ["compare", "portable"]

LEAVES_TOLD_MAX = 3


def portable(values: Any) -> Any:
    """`values` with every tensor local, on the CPU and detached, so that it pickles."""
    if isinstance(values, dict):
        return {key: portable(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [portable(value) for value in values]
    if isinstance(values, torch.Tensor) or hasattr(values, "local_shards"):
        tensor = tensor_of(values)
        return None if tensor is None else tensor.clone()
    return values


def compare(got: Any, new: Any, old: Any, fill: float) -> tuple[str, str, tuple[str, ...]]:
    """(verdict, detail, sides): NEW, OLD, MIX or GARBAGE, what is wrong in words, and which leaves are what, as in
    "new weight of rank *".  `old` is None where there is none.
    """
    counts = {NEW: 0, OLD: 0, "both": 0, "neither": 0, "unfilled": 0}
    told: list[str] = []
    sides: set[str] = set()
    got_leaves, new_leaves = named_leaves(got), named_leaves(new)
    old_leaves = named_leaves(old) if old is not None else {}
    for name in [*new_leaves, *(name for name in got_leaves if name not in new_leaves)]:
        if name not in got_leaves:
            counts["neither"] += 1
            told.append(f"{name} is missing")
            sides.add(_side("wrong", name))
            continue
        leaf = _counts(got_leaves[name], new_leaves.get(name, _NOTHING), old_leaves.get(name, _NOTHING), fill)
        for kind, number in leaf.items():
            counts[kind] += number
        wrong = leaf["neither"] + leaf["unfilled"]
        sides |= {_side(side, name) for side in (NEW, OLD) if leaf[side]}
        if wrong:
            sides.add(_side("wrong", name))
        if wrong:
            what = "were never filled" if leaf["unfilled"] == wrong else "are neither new nor old"
            told.append(f"{name}: {wrong} of {sum(leaf.values())} elements {what}")
        elif leaf[OLD] and leaf[NEW]:
            told.append(f"{name}: {leaf[NEW]} elements are new and {leaf[OLD]} old")
        elif leaf[OLD]:
            told.append(f"{name} is old")
        elif leaf[NEW]:
            told.append(f"{name} is new")
    if counts["neither"] + counts["unfilled"]:
        wrong_first = [text for text in told if not text.endswith((" is old", " is new"))]
        return GARBAGE, _told(wrong_first), tuple(sorted(sides))
    if counts[OLD] and counts[NEW]:
        return MIX, _told(_both_sides(told)), tuple(sorted(sides))
    return (OLD if counts[OLD] else NEW), "", tuple(sorted(sides))


_NOTHING = object()


def _side(side: str, name: str) -> str:
    """A leaf with its side; leaves that differ by numbers only are one, as those of several ranks are."""
    return f"{side.lower()} {re.sub(r'[0-9]+', '*', name)}"


def _both_sides(told: list[str]) -> list[str]:
    within = [text for text in told if " elements are new and " in text]
    new = [text for text in told if text.endswith(" is new")]
    old = [text for text in told if text.endswith(" is old")]
    return [*within[:1], *new[:1], *old[:1]]


def _told(texts: list[str]) -> str:
    more = len(texts) - LEAVES_TOLD_MAX
    return ", ".join(texts[:LEAVES_TOLD_MAX]) + (f" and {more} more" if more > 0 else "")


def _counts(got: Any, new: Any, old: Any, fill: float) -> dict[str, int]:
    counts = {NEW: 0, OLD: 0, "both": 0, "neither": 0, "unfilled": 0}
    tensor = tensor_of(got)
    if tensor is None:
        is_new, is_old = same(got, new), same(got, old)
        counts["both" if is_new and is_old else NEW if is_new else OLD if is_old else "neither"] = 1
        return counts
    nothing = torch.zeros(tensor.numel(), dtype=torch.bool)
    equals_new, equals_old = equal_elements(tensor, new), equal_elements(tensor, old)
    if equals_new is None and equals_old is None:
        counts["neither"] = max(1, tensor.numel())
        return counts
    is_new = equals_new if equals_new is not None else nothing
    is_old = equals_old if equals_old is not None else nothing
    neither = ~(is_new | is_old)
    filled = neither & (tensor.reshape(-1) == torch.full((), fill, dtype=torch.float64).to(tensor.dtype))
    counts["both"] = int((is_new & is_old).sum())
    counts[NEW] = int((is_new & ~is_old).sum())
    counts[OLD] = int((is_old & ~is_new).sum())
    counts["unfilled"] = int(filled.sum())
    counts["neither"] = int(neither.sum()) - counts["unfilled"]
    return counts
