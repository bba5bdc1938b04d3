"""Makes a case that broke a promise as small as it can be: `smallest`.

A case is a plain value that can be run again.  What comes out breaks the same promise, in the same view, of the same
sort of leaf, and no move that there is here makes it smaller: fewer ranks, fewer leaves, whole tensors in place of
shards, float32, fewer elements, plainer values.  Not covered: a smaller case to which no row of such moves leads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from faultkit.reshard.runner import Case
from faultkit.reshard.states import OwnState, State
from faultkit.strategies.recipes import DTYPES, LAYOUTS, SHARDING_KINDS, Alias, Sharded, StateRecipe, Tensor

__all__ = ["smallest"]

KEY = "weight"
KEY_CHARACTERS_MAX = 12
ALONE_MAX = 64  # leaves of a checkpointer's own state that are each tried alone
_PLAIN: dict[type, Any] = {int: 0, float: 0.0, str: "", bytes: b"", complex: 0j, bool: False}


def smallest(case: Case, leaves: tuple[str, ...], fails: Callable[[Case], bool], runs_max: int = 200) -> Case:
    """The smallest case that `fails`, which `case` does, as the moves above find it.

    `leaves` are the names of all that was saved.  `fails` is asked at most `runs_max` times.
    """
    asked: dict[str, bool] = {repr(case): True}

    def still_fails(candidate: Case) -> bool:
        key = repr(candidate)
        if key not in asked:
            if len(asked) > runs_max:
                return False
            asked[key] = fails(candidate)
        return asked[key]

    best = case
    while True:
        smaller = next((one for one in _moves(best, leaves) if still_fails(one)), None)
        if smaller is None:
            return best
        best = smaller


def _moves(case: Case, leaves: tuple[str, ...]) -> Iterator[Case]:
    """Candidates that are smaller than `case`, those that promise most first."""
    change = msgspec.structs.replace
    loads = case.load_on or (1,)
    for total in range(2, case.save_on + max(loads)):
        for save_on in range(1, min(case.save_on, total - 1) + 1):
            load_on = total - save_on
            if case.load_on and load_on <= max(case.load_on):
                yield change(case, save_on=save_on, load_on=(load_on,))
            elif not case.load_on and load_on == 1:
                yield change(case, save_on=save_on)
    size = _size(case.state, leaves)
    for state in _states(case.state, leaves):
        if _size(state, leaves) < size:
            yield change(case, state=state)


def _states(state: State, leaves: tuple[str, ...]) -> Iterator[State]:
    if isinstance(state, OwnState):
        names = state.keep or leaves
        if len(names) > 1:
            for name in names[:ALONE_MAX]:
                yield OwnState(state.step, (name,))
            for half in (names[: len(names) // 2], names[len(names) // 2 :]):
                yield OwnState(state.step, half)
            for place in range(min(len(names), ALONE_MAX)):
                yield OwnState(state.step, names[:place] + names[place + 1 :])
        if state.step > 1:
            yield OwnState(1, state.keep)
        return
    tree = state.tree
    for key in tree if len(tree) > 1 else ():
        yield _recipe(
            {other: leaf for other, leaf in tree.items() if other not in (key, _aliased(tree, other, key))}
        )
    for key, leaf in tree.items():
        for simpler in _simpler(leaf):
            yield _recipe({other: simpler if other == key else one for other, one in tree.items()})
        if len(key) > KEY_CHARACTERS_MAX and KEY not in tree:
            yield _recipe({KEY if other == key else other: one for other, one in tree.items()})


def _aliased(tree: dict[str, Any], other: str, key: str) -> str | None:
    """`other`, where it stands for `key`."""
    leaf = tree[other]
    return other if isinstance(leaf, Alias) and leaf.key == key else None


def _recipe(tree: dict[str, Any]) -> StateRecipe:
    """`tree`, in which no name stands for what is no longer a tensor."""
    kept = {
        key: leaf
        for key, leaf in tree.items()
        if not isinstance(leaf, Alias) or isinstance(tree.get(leaf.key), Tensor | Sharded)
    }
    return StateRecipe(kept)


def _simpler(leaf: Any) -> Iterator[Any]:
    change = msgspec.structs.replace
    if isinstance(leaf, Tensor | Sharded):
        if isinstance(leaf, Sharded):
            yield Tensor(leaf.shape, leaf.dtype)
            if leaf.by != (0,):
                yield change(leaf, by=(0,))
            if leaf.kind != SHARDING_KINDS[0]:
                yield change(leaf, kind=SHARDING_KINDS[0])
        elif leaf.layout != LAYOUTS[0]:
            yield change(leaf, layout=LAYOUTS[0])
        if leaf.dtype != DTYPES[0]:
            yield change(leaf, dtype=DTYPES[0])
        for shape in _shapes(leaf):
            yield change(leaf, shape=shape)
    elif isinstance(leaf, dict | list):
        yield from leaf.values() if isinstance(leaf, dict) else leaf
        items = list(leaf.items()) if isinstance(leaf, dict) else list(enumerate(leaf))
        for key, _ in items if len(items) > 1 else ():
            kept = [(other, one) for other, one in items if other != key]
            yield dict(kept) if isinstance(leaf, dict) else [one for _, one in kept]
        for key, value in items:
            for simpler in _simpler(value):
                changed = [(other, simpler if other == key else one) for other, one in items]
                yield dict(changed) if isinstance(leaf, dict) else [one for _, one in changed]
    elif type(leaf) in _PLAIN and repr(leaf) != repr(_PLAIN[type(leaf)]):
        yield _PLAIN[type(leaf)]
    elif isinstance(leaf, tuple | frozenset) and leaf:
        yield type(leaf)()


def _shapes(leaf: Tensor | Sharded) -> Iterator[tuple[int, ...]]:
    shape = leaf.shape
    needed = (
        1 + max((axis for axis in leaf.by if axis is not None), default=0) if isinstance(leaf, Sharded) else 0
    )
    for place, size in enumerate(shape):
        if len(shape) > needed:
            yield shape[:place] + shape[place + 1 :]
        for fewer in sorted({1, size // 2, size - 1} - {size, 0, -1}):
            if fewer < size:
                yield (*shape[:place], fewer, *shape[place + 1 :])


def _size(state: State, leaves: tuple[str, ...]) -> tuple[float, ...]:
    if isinstance(state, OwnState):
        return len(state.keep) or len(leaves) + 1, state.step
    return _size_of(state.tree)


def _size_of(node: Any) -> tuple[float, ...]:
    """(leaves, containers, shards, odd dtypes and layouts, dimensions, elements, characters)."""
    if isinstance(node, dict | list):
        inner = [_size_of(value) for value in (node.values() if isinstance(node, dict) else node)]
        total = [sum(column) for column in zip(*inner, strict=True)] or [0.0] * 7
        keys = sum(map(len, map(str, node))) if isinstance(node, dict) else 0
        return (total[0], total[1] + 1, *total[2:6], total[6] + keys)
    if isinstance(node, Tensor | Sharded):
        shards = (
            0 if isinstance(node, Tensor) else 1 + 2 * (node.by != (0,)) + (node.kind != SHARDING_KINDS[0])
        )
        odd = (node.dtype != DTYPES[0]) + (isinstance(node, Tensor) and node.layout != LAYOUTS[0])
        return 1, 0, shards, odd, len(node.shape), math.prod(node.shape), 0
    return 1, 0, 0, 0, 0, 0, len(repr(node))
