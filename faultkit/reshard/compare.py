"""What ranks gave to a save, and what is not so where it was loaded: for ranks.

A rank notes what it gives: each leaf by the engine's name, of a tensor the pieces that this rank has, with their place
in the whole (`given`).  Whoever loads compares each piece that it has, bit for bit, with what all ranks noted
(`differences`): names, types, dtypes, shapes of the whole, and values.  Nobody has to know how many ranks there were.

Guarantees: every element that is there is compared.  Of a place that several ranks had, each otherwise, any of them
will do (`faultkit.checks.durable` tells of those).  Not covered: objects whose type has no equality and no ``__dict__``
of equal values, of which the type counts alone.  Imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import torch
from torch.distributed.checkpoint import _nested_dict

from faultkit.checkpointers import rank_work
from faultkit.injection.engine.content import pieces_of
from faultkit.state_values import bytes_of

__all__ = ["Difference", "differences", "flat", "given"]

SHOWN_CHARACTERS = 60


class Difference(msgspec.Struct, frozen=True):
    """One leaf that is not as it was given.

    `kind` is "missing", "extra", "type", "dtype", "shape" or "values"; `trait` what sort of leaf it is; `text` says it
    in words that follow the name of the leaf.
    """

    name: str
    kind: str
    trait: str
    text: str


def flat(state: Any) -> dict[str, Any]:
    """The leaves of `state` by the engine's names; of an object that hands its state over, that."""
    found: dict[str, Any] = _nested_dict.flatten_state_dict(rank_work.plain(state))[0]
    return found


def given(state: Any) -> dict[str, Any]:
    """What this rank gives, as a value that can be stored: tensors are copied."""
    return {name: _noted(value) for name, value in flat(state).items()}


def differences(
    notes: Sequence[Mapping[str, Any]], state: Any, targets: Mapping[str, str]
) -> list[Difference]:
    """What of `state`, as this rank has it, is not as the ranks noted.

    `targets` has for leaves that were there before the load the name of their type, which must stay.
    """
    expected: dict[str, list[Any]] = {}
    for note in notes:
        for name, leaf in note.items():
            expected.setdefault(name, []).append(leaf)
    found = flat(state)
    told = [
        Difference(name, "missing", _trait(leaves), "is not there")
        for name, leaves in expected.items()
        if name not in found
    ]
    for name, value in found.items():
        if name not in expected:
            told.append(Difference(name, "extra", "extra", "was never given"))
            continue
        was = targets.get(name)
        wrong = next(_wrong(expected[name], value), None)
        if (
            wrong is None
            and was is not None
            and was != type(value).__name__
            and isinstance(value, torch.Tensor)
        ):
            wrong = "type", f"is a {type(value).__name__}, loaded into a {was}"
        if wrong is not None:
            told.append(Difference(name, wrong[0], _trait(expected[name]), wrong[1]))
    return told


def _noted(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return {"value": value}
    pieces = [[list(offsets), tensor.clone()] for offsets, _, tensor in pieces_of(value)]
    return {"dtype": value.dtype, "shape": list(value.shape), "pieces": pieces}


def _trait(leaves: Sequence[Any]) -> str:
    leaf = leaves[0]
    if "value" in leaf:
        return f"value {type(leaf['value']).__name__}"
    if 0 in leaf["shape"]:
        return "tensor without an element"
    if not leaf["shape"]:
        return "tensor without a dimension"
    places = {(tuple(offsets), tuple(piece.shape)) for one in leaves for offsets, piece in one["pieces"]}
    whole = (tuple([0] * len(leaf["shape"])), tuple(leaf["shape"]))
    return "whole tensor" if places == {whole} else "tensor in shards"


def _wrong(leaves: Sequence[Any], value: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with a leaf, the plainest first."""
    leaf = leaves[0]
    is_tensor = "value" not in leaf
    if is_tensor != isinstance(value, torch.Tensor):
        yield "type", f"is a {type(value).__name__} in place of {_named(leaf)}"
    elif not is_tensor:
        if not any(_equal(one.get("value"), value) for one in leaves):
            kind = "values" if type(leaf["value"]) is type(value) else "type"
            yield kind, f"is {_shown(value)} in place of {_shown(leaf['value'])}"
    elif value.dtype != leaf["dtype"]:
        yield "dtype", f"has dtype {_plain(value.dtype)} in place of {_plain(leaf['dtype'])}"
    elif list(value.shape) != leaf["shape"]:
        yield "shape", f"has shape {list(value.shape)} in place of {leaf['shape']}"
    else:
        for offsets, _, piece in pieces_of(value):
            yield from _wrong_values(leaves, list(offsets), piece)


def _wrong_values(
    leaves: Sequence[Any], offsets: list[int], piece: torch.Tensor
) -> Iterator[tuple[str, str]]:
    by_place: dict[Any, list[torch.Tensor]] = {}
    for leaf in leaves:
        for start, tensor in leaf["pieces"]:
            by_place.setdefault((tuple(start), tuple(tensor.shape)), []).append(tensor)
    first, count = "", 0
    for (start, sizes), tensors in by_place.items():
        lows = [max(one, other) for one, other in zip(start, offsets, strict=True)]
        highs = [
            min(one + size, other + length)
            for one, size, other, length in zip(start, sizes, offsets, piece.shape, strict=True)
        ]
        if any(low >= high for low, high in zip(lows, highs, strict=True)):
            continue
        here = _cut(piece, lows, highs, offsets)
        found = [_unequal(_cut(tensor, lows, highs, start), here) for tensor in tensors]
        if all(one is not None for one in found):
            at, unequal = found[0] or ((), 0)
            count += unequal
            there = _cut(tensors[0], lows, highs, start)[at]
            where = f", first at {[low + inner for low, inner in zip(lows, at, strict=True)]}," if at else ""
            first = first or f"elements{where} with {_number(here[at])} in place of {_number(there)}"
    if count:
        yield "values", f"differs in {count} of {piece.numel()} {first}"


def _cut(
    tensor: torch.Tensor, lows: Sequence[int], highs: Sequence[int], start: Sequence[int]
) -> torch.Tensor:
    for dimension, (low, high, first) in enumerate(zip(lows, highs, start, strict=True)):
        tensor = tensor.narrow(dimension, low - first, high - low)
    return tensor


def _unequal(one: torch.Tensor, other: torch.Tensor) -> tuple[tuple[int, ...], int] | None:
    """The first element that differs and how many do; None where none does."""
    if not one.numel():
        return None
    unequal = (bytes_of(one) != bytes_of(other)).view(one.numel(), -1).any(dim=1)
    if not unequal.any():
        return None
    first = int(unequal.nonzero()[0, 0])
    place = []
    for size in reversed(one.shape):
        first, inner = divmod(first, size)
        place.append(inner)
    return tuple(reversed(place)), int(unequal.sum())


def _equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and _unequal(one, other) is None
    if isinstance(one, Mapping):
        return list(map(repr, one)) == list(map(repr, other)) and all(
            _equal(value, again) for value, again in zip(one.values(), other.values(), strict=True)
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(_equal(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, (int, float, complex, str, bytes)):
        return repr(one) == repr(other)  # NaN is itself, and 0.0 is not -0.0
    try:
        if one == other:
            return True
    except Exception:
        return False
    if type(one).__eq__ is object.__eq__:  # type: ignore[comparison-overlap]
        return _equal(getattr(one, "__dict__", {}), getattr(other, "__dict__", {}))
    return False


def _named(leaf: Any) -> str:
    return f"a {type(leaf['value']).__name__}" if "value" in leaf else "a tensor"


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _number(element: torch.Tensor) -> str:
    return str(element.detach().item())


def _shown(value: Any) -> str:
    text = (
        f"{type(value).__name__} {value!r}" if not isinstance(value, (int, str, bool, float)) else repr(value)
    )
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
