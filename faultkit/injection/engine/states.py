"""The states that a rank loads and that its objects are given, kept as what they were at one moment.

Guarantees: two states of one object are compared by names that they have in common, whatever group of an optimizer a
parameter is in; what a load gave back is found again under the names of the object that takes it, by the very objects,
or else by names that fit only once.  Not covered: who takes a state (`faultkit.injection.engine.application`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping
from typing import Any

import torch

from faultkit.injection.engine.leaves import Leaf, address_of, leaf_of, named

__all__ = [
    "Given",
    "Loaded",
    "by_parameter",
    "is_within",
    "note_containers",
    "prefix_of",
    "ties_of",
    "untied",
]

NAMES_OF_GROUPS = re.compile(r"param_groups\.(\d+)\.params\.")  # which parameters, by number or by name
OF_A_GROUP = re.compile(r"param_groups\.(\d+)\.(.*)")
UNTIED = "untied"
NAMES_MIN = 2  # for two states to be taken for those of one object by names alone


class Loaded:
    """What the last loads of a rank gave back: each leaf by its name, and which objects these are."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.leaves: dict[str, Leaf] = {}
        self.values: dict[str, Any] = {}  # kept, so that no other object gets the identity of one of them
        self.containers: dict[int, tuple[str, Any]] = {}

    def add(self, other: Loaded) -> None:
        """Have what an earlier load gave back, too."""
        for mine, theirs in zip(self._parts, other._parts, strict=True):
            mine.update(theirs)

    @property
    def _parts(self) -> tuple[dict[Any, Any], ...]:
        return self.leaves, self.values, self.containers

    def under(self, prefix: str) -> dict[str, Any]:
        """The values whose names begin with `prefix`, by the rest."""
        return {name[len(prefix) :]: value for name, value in self.values.items() if name.startswith(prefix)}


class Given:
    """A state at a moment; of the tensors that lie at one of the addresses `but` only the names."""

    def __init__(self, state: Any, but: Container[int | None] = ()) -> None:
        self.state = state
        values = named(state)
        self.names = tuple(values)
        values = {name: value for name, value in values.items() if not (but and address_of(value) in but)}
        leaves = {name: leaf_of(value) for name, value in values.items()}
        own = by_parameter(values)
        self.values = {name: values[its] for name, its in own.items()}
        self.leaves = {name: leaves[its] for name, its in own.items()}


def by_parameter(values: Mapping[str, Any]) -> dict[str, str]:
    """The names of `values` as they are compared, with their own: what a group of parameters that are named has, each
    of these has, since it may be in another group."""
    members: dict[str, list[str]] = {}
    for name, value in values.items():
        if match := NAMES_OF_GROUPS.match(name):
            members.setdefault(match[1], []).append(value)
    found: dict[str, str] = {}
    for name in values:
        if NAMES_OF_GROUPS.match(name):
            continue
        match = OF_A_GROUP.match(name)
        of_group = members.get(match[1], []) if match else []
        if match and of_group and all(isinstance(one, str) for one in of_group):
            found |= {f"param_groups.{one}.{match[2]}": name for one in of_group}
        else:
            found[name] = name
    return found


def prefix_of(loaded: Loaded, then: Given, now: Given) -> tuple[str | None, bool]:
    """Under which names the load gave back what this object takes, and whether it is so for certain."""
    container = loaded.containers.get(id(then.state))
    if container is not None and container[1] is then.state:
        return (f"{container[0]}." if container[0] else ""), True
    by_identity = {
        id(value): name for name, value in loaded.values.items() if isinstance(value, torch.Tensor)
    }
    found: Counter[str] = Counter()
    for name, value in then.values.items():
        of_load = by_identity.get(id(value))
        if of_load is not None and (of_load == name or of_load.endswith(f".{name}")):
            found[of_load[: len(of_load) - len(name)]] += 1
    if found:
        return found.most_common(1)[0][0], True
    probe = max(now.names, key=len, default="")
    if len(now.names) < NAMES_MIN:
        return None, False
    fits = [name for name in loaded.leaves if name == probe or name.endswith(f".{probe}")]
    prefixes = {name[: len(name) - len(probe)] for name in fits}
    if len(prefixes) != 1:
        return None, False
    prefix = prefixes.pop()
    common = sum(f"{prefix}{name}" in loaded.leaves for name in now.names)
    return (prefix, False) if 2 * common >= len(now.names) else (None, False)


def note_containers(found: dict[int, tuple[str, Any]], name: str, state: Any) -> None:
    if isinstance(state, Mapping):
        found[id(state)] = (name, state)
        for key, part in state.items():
            note_containers(found, f"{name}.{key}" if name else str(key), part)


def is_within(name: str, asked: set[str]) -> bool:
    while name:
        if name in asked:
            return True
        name = name.rpartition(".")[0]
    return False


def ties_of(holder: Any) -> list[list[str]]:
    """The names under which a module has one parameter several times."""
    if not isinstance(holder, torch.nn.Module):
        return []
    names: dict[int, list[str]] = {}
    for name, parameter in holder.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [each for each in names.values() if len(each) > 1]


def untied(holder: Any, ties: list[list[str]]) -> list[list[str]]:
    if not ties:
        return []
    now = {name: id(one) for name, one in holder.named_parameters(remove_duplicate=False)}
    return [
        [other, UNTIED, first, ""]
        for first, *others in ties
        for other in others
        if first in now and other in now and now[first] != now[other]
    ]
