"""Strategies of state: `state_dicts` and `save_load_pairs` draw recipes that ranks build, see `recipes`.

The smallest state is one scalar tensor of float32.  From there on: more dimensions, empty and zero-size
tensors, every dtype, tensors that are not contiguous or that share a storage, numbers, text, bytes and other
Python objects, dicts and lists of these, the same object under two keys, and sharded tensors, DTensors also by
columns and on a mesh of two axes.  Not covered:
keys that collide once the engine has flattened the state, which it refuses; a dict without entries below the
top level, which it drops; and a ShardedTensor of which some rank has nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
import msgspec

from faultkit.strategies.arguments import (
    WORLD_SIZE_MAX,
    checked_choices,
    checked_range,
    checked_size,
    described,
)
from faultkit.strategies.recipes import (
    DTYPES,
    LAYOUTS,
    SHARDING_KINDS,
    Alias,
    SaveLoadPair,
    Sharded,
    StateRecipe,
    Tensor,
)
from faultkit.strategies.swarm import some_of

__all__ = ["LEAF_FAMILIES", "save_load_pairs", "state_dicts"]

LEAF_FAMILIES = (
    "tensor",
    "value",
    "bytes",
    "object",
    "alias",
    "nested",
    "dtensor",
    "sharded_tensor",
    "dtensor_2d",
)
PLACEMENTS = (
    (1,),
    (0, 1),
    (1, 0),
    (0, 0),
    (None, 0),
    (0, None),
)  # of a matrix; the first on a mesh of one axis
KEYS = ("weight", "bias", "step", "a key", "ключ", "path/to", "0", "x" * 200)
ENTRIES_MAX = 1_000
DIMENSION_MAX = 5
DEPTH_MAX = 2

_VALUES = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.booleans(),
    st.none(),
    st.complex_numbers(),
)
_OBJECTS = st.one_of(
    st.tuples(st.integers(0, 9), st.text(max_size=4)),
    st.frozensets(st.integers(0, 9), max_size=1),
    st.decimals(allow_nan=False),
    st.dates(),
    st.just(range(3)),
)


@described
def state_dicts(
    world_size: int,
    *,
    min_size: int = 1,
    max_size: int = 5,
    dtypes: str | Iterable[str] | None = None,
    families: str | Iterable[str] | None = None,
) -> st.SearchStrategy[StateRecipe]:
    """Draws recipes of state dicts, for worlds of up to `world_size` ranks.

    Sharded tensors have up to two rows more than `world_size`, so that some ranks get more than others, and of a
    DTensor some none.

    Args:
        world_size: ranks of the world.
        min_size: the fewest entries.
        max_size: the most entries.
        dtypes: names of `DTYPES`; all by default.
        families: names of families of leaves; all by default.

    Raises:
        InvalidArgument: an argument is no such value.
    """
    size = checked_size("world_size", world_size)
    low, high = checked_range("min_size", min_size, "max_size", max_size, 0, ENTRIES_MAX)
    chosen = checked_choices("dtypes", dtypes, DTYPES)
    leaves = checked_choices("families", families, LEAF_FAMILIES)
    return _states(size, low, high, chosen, leaves)


@described
def save_load_pairs(
    *, min_world: int = 1, max_world: int = 4, max_size: int = 5, dtypes: str | Iterable[str] | None = None
) -> st.SearchStrategy[SaveLoadPair]:
    """Draws a state with the size of the world that saves it and of the one that loads it.

    Args:
        min_world: the fewest ranks of each.
        max_world: the most ranks of each.
        max_size: as for `state_dicts`.
        dtypes: as for `state_dicts`.

    Raises:
        InvalidArgument: an argument is no such value.
    """
    low, high = checked_range("min_world", min_world, "max_world", max_world, 1, WORLD_SIZE_MAX)
    entries = checked_size("max_size", max_size, 1, ENTRIES_MAX)
    state = _states(high, 1, entries, checked_choices("dtypes", dtypes, DTYPES), LEAF_FAMILIES)
    return st.builds(SaveLoadPair, st.integers(low, high), st.integers(low, high), state)


@st.composite
def _states(
    draw: Any, world_size: int, low: int, high: int, dtypes: tuple[str, ...], families: tuple[str, ...]
) -> StateRecipe:
    drawn = _entries(world_size, dtypes, families)
    tree: dict[str, Any] = {}
    for place, (number, leaf) in enumerate(draw(st.lists(drawn, min_size=low, max_size=high))):
        key = KEYS[number] if KEYS[number] not in tree else f"{KEYS[number]} {place}"
        if isinstance(leaf, _Again):
            tensors = [k for k, v in tree.items() if isinstance(v, Tensor | Sharded)]
            leaf = Alias(tensors[leaf.place % len(tensors)]) if tensors else Tensor((), dtypes[0])
        tree[key] = leaf
    return StateRecipe(tree)


class _Again(msgspec.Struct, frozen=True):
    """Stands for one of the tensors drawn before, which only the whole state knows."""

    place: int


@st.composite
def _entries(draw: Any, world_size: int, dtypes: tuple[str, ...], families: tuple[str, ...]) -> Any:
    """A number of a key with its leaf, so that shrinking can drop the two at once."""
    number = draw(st.integers(0, len(KEYS) - 1))
    return number, _Leaves(draw, world_size, dtypes, families).leaf(DEPTH_MAX)


class _Leaves:
    def __init__(
        self, draw: Any, world_size: int, dtypes: tuple[str, ...], families: tuple[str, ...]
    ) -> None:
        self.draw, self.world_size = draw, world_size
        self.dtypes, self.families = dtypes, families

    def leaf(self, depth: int) -> Any:
        def possible(family: str) -> bool:
            return depth == DEPTH_MAX if family == "alias" else family != "nested" or depth > 0

        families = self.families if any(map(possible, self.families)) else ("tensor",)
        if "tensor" in families:
            families = ("tensor", "tensor", *families)  # most of what a state holds
        family = some_of(self.draw, families, lambda one: (one,), possible)
        match family:
            case "value":
                return self.draw(_VALUES)
            case "bytes":
                return self.draw(st.binary(max_size=16))
            case "object":
                return self.draw(_OBJECTS)
            case "alias":
                return _Again(self.draw(st.integers(0, 9)))
            case "nested":
                return self.nested(depth)
        # Tensors of all kinds are drawn alike, type, list, number, so that shrinking makes one of another.
        dtype = some_of(self.draw, self.dtypes, lambda one: (one,))
        if family == "tensor":
            shape = self.draw(st.lists(st.integers(0, DIMENSION_MAX), max_size=3))
            return Tensor(tuple(shape), dtype, self.draw(st.sampled_from(LAYOUTS)))
        if family == "dtensor_2d":
            sides = st.integers(1, self.world_size + 2)
            return Sharded(
                (self.draw(sides), self.draw(sides)),
                dtype,
                SHARDING_KINDS[0],
                self.draw(st.sampled_from(PLACEMENTS)),
            )
        columns = self.draw(st.lists(st.integers(1, DIMENSION_MAX), max_size=1))
        # A rank without a shard of a ShardedTensor makes the loader of torch 2.13 take the checkpoint for
        # one of torch 2.3, and then miss the keys of nested dicts; so every rank has one.
        fewest = 0 if family == SHARDING_KINDS[0] else self.world_size
        rows = self.draw(st.integers(fewest, self.world_size + 2))
        return Sharded((rows, *columns), dtype, family)

    def nested(self, depth: int) -> Any:
        as_list = self.draw(st.booleans())
        leaves = [self.leaf(depth - 1) for _ in range(self.draw(st.integers(0 if as_list else 1, 2)))]
        return leaves if as_list else {f"k{place}": leaf for place, leaf in enumerate(leaves)}
