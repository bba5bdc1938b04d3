"""State as a recipe: a small picklable value from which every rank of any world builds the same state.

A `StateRecipe` holds a tree of dicts and lists whose leaves are plain Python values or one of

    Tensor(shape, dtype, layout)     the same on every rank; layout: contiguous, transposed, strided, pooled
    Sharded(shape, dtype, kind, by)  split along the first dimension; kind: "dtensor" or "sharded_tensor"; of a DTensor
                                     `by` has the dimension that each axis of a mesh of one or two axes cuts
    Alias(key)                       the very object that stands under another key of the top level

What a tensor holds follows from its place in the tree alone: arbitrary bytes, so floats are also infinite or
not a number.  A world of another size builds the same global tensors, split otherwise, which is what saving
in one world and loading in another needs.  Comparison is of bits, not of numbers.

Nothing here imports torch before `build` is called, or Hypothesis at all: ranks import this module.  Left
out: tensors on devices, more than two mesh dimensions, quantised tensors.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = ["DTYPES", "LAYOUTS", "Alias", "SaveLoadPair", "Sharded", "StateRecipe", "Tensor"]

DTYPES = tuple(
    "float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128 "
    "uint16 uint32 uint64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz".split()
)
LAYOUTS = ("contiguous", "transposed", "strided", "pooled")
SHARDING_KINDS = ("dtensor", "sharded_tensor")


class Tensor(msgspec.Struct, frozen=True):
    """A tensor that every rank has in full.  ``pooled`` ones of a state are views of one storage."""

    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    layout: str = "contiguous"

    def __repr__(self) -> str:
        layout = "" if self.layout == "contiguous" else f", {self.layout!r}"
        return f"Tensor({self.shape!r}, {self.dtype!r}{layout})"


class Sharded(msgspec.Struct, frozen=True):
    """A tensor of which each rank has some rows.

    A ``dtensor`` is cut as `torch.chunk` does it, so that the last ranks may have none.  A ``sharded_tensor``
    is cut evenly: given enough rows, every rank has one.  `by` is a DTensor's alone: the dimension that each axis of
    the mesh cuts, None where all along that axis have the same.  Of two axes the first has two places on an even
    number of ranks from four on, else one.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    kind: str = "dtensor"
    by: tuple[int | None, ...] = (0,)

    def __repr__(self) -> str:
        by = "" if self.by == (0,) else f", {self.by!r}"
        return f"Sharded({self.shape!r}, {self.dtype!r}, {self.kind!r}{by})"

    def rows(self, rank: int, world_size: int) -> tuple[int, int]:
        """The first row that `rank` has, and the first after it that it does not have, where rows alone are cut."""
        count = self.shape[0]
        if self.kind == "sharded_tensor":
            return rank * count // world_size, (rank + 1) * count // world_size
        chunk = -(-count // world_size)
        return min(rank * chunk, count), min((rank + 1) * chunk, count)


class Alias(msgspec.Struct, frozen=True):
    """The object that stands under `key` of the top level, once more."""

    key: str

    def __repr__(self) -> str:
        return f"Alias({self.key!r})"


class StateRecipe(msgspec.Struct, frozen=True):
    """The recipe of one state.  `tree` is a dict; it is not to be changed.

    Its `repr` is Python, given the names of this module and the types of what it holds.

    On a rank, `build` gives the state dict, `blank` one of the same shape to load into, and `check` compares.
    Where no process group is formed, the state is that of a world of one rank.
    """

    tree: dict[str, Any]

    def __repr__(self) -> str:
        return f"StateRecipe({_written(self.tree)})"

    def build(self) -> dict[str, Any]:
        """The state dict of this rank.  Where it holds sharded tensors, all ranks must call this."""
        return _Builder(self, blank=False).state()

    def blank(self) -> dict[str, Any]:
        """A state dict of the same shape on this rank to load into: zeros, and None for plain values."""
        return _Builder(self, blank=True).state()

    def differences(self, state: dict[str, Any]) -> tuple[str, ...]:
        """What of `state`, on this rank, is not bit for bit what `build` gives: a sentence for each place."""
        return tuple(_differences("", self.build(), state))

    def check(self, state: dict[str, Any]) -> None:
        """Raise AssertionError unless `state` is bit for bit what `build` gives on this rank."""
        different = self.differences(state)
        assert not different, "; ".join(different)


class SaveLoadPair(msgspec.Struct, frozen=True):
    """A state to save in a world of `save_size` ranks and to load in one of `load_size`."""

    save_size: int
    load_size: int
    state: StateRecipe

    def __repr__(self) -> str:
        return f"SaveLoadPair({self.save_size}, {self.load_size}, {self.state!r})"


class _Builder:
    def __init__(self, recipe: StateRecipe, blank: bool) -> None:
        import torch
        import torch.distributed as dist

        self.torch, self.tree, self.is_blank = torch, recipe.tree, blank
        formed = dist.is_available() and dist.is_initialized()
        self.rank: int = dist.get_rank() if formed else 0
        self.world_size: int = dist.get_world_size() if formed else 1
        sizes = [-(-_bytes_of(torch, leaf) // 16) * 16 for leaf in _leaves(recipe.tree) if _is_pooled(leaf)]
        self.pool = torch.zeros(sum(sizes), dtype=torch.uint8)
        self.offsets = itertools.accumulate(sizes, initial=0)

    def state(self) -> dict[str, Any]:
        state = self.node("", {k: v for k, v in self.tree.items() if not isinstance(v, Alias)})
        aliases = {k: state[v.key] for k, v in self.tree.items() if isinstance(v, Alias)}
        return {key: (aliases if key in aliases else state)[key] for key in self.tree}

    def node(self, path: str, node: Any) -> Any:
        if isinstance(node, dict):
            return {key: self.node(f"{path}.{key}", value) for key, value in node.items()}
        if isinstance(node, list):
            return [self.node(f"{path}.{place}", value) for place, value in enumerate(node)]
        if isinstance(node, Tensor):
            return self.tensor(path, node)
        if isinstance(node, Sharded):
            return self.sharded(path, node)
        return None if self.is_blank else node

    def full(self, path: str, leaf: Tensor | Sharded) -> Any:
        torch = self.torch
        dtype = getattr(torch, leaf.dtype)
        if self.is_blank:
            return torch.zeros(leaf.shape, dtype=dtype)
        generator = torch.Generator().manual_seed(zlib.crc32(path.encode()))
        high = 2 if leaf.dtype == "bool" else 256
        flat = torch.randint(0, high, (_bytes_of(torch, leaf),), dtype=torch.uint8, generator=generator)
        return flat.view(dtype).reshape(leaf.shape)

    def tensor(self, path: str, leaf: Tensor) -> Any:
        torch, full = self.torch, self.full(path, leaf)
        if leaf.layout == "pooled":
            start = next(self.offsets)
            laid = self.pool[start : start + _bytes_of(torch, leaf)].view(full.dtype).reshape(leaf.shape)
        elif leaf.layout == "transposed":
            laid = torch.empty(leaf.shape[::-1], dtype=full.dtype).permute(tuple(reversed(range(full.dim()))))
        elif leaf.layout == "strided" and leaf.shape:
            laid = torch.empty((*leaf.shape[:-1], 2 * leaf.shape[-1]), dtype=full.dtype)[..., ::2]
        else:
            return full
        return laid.copy_(full)

    def sharded(self, path: str, leaf: Sharded) -> Any:
        if leaf.kind == "dtensor":
            return self.dtensor(self.full(path, leaf), leaf)
        low, high = leaf.rows(self.rank, self.world_size)
        local = self.full(path, leaf)[low:high].clone()
        from torch.distributed._shard.sharded_tensor import Shard, init_from_local_shards

        offsets = [low] + [0] * (len(leaf.shape) - 1)
        shards = [Shard.from_tensor_and_offsets(local, offsets, self.rank)] if high > low else []
        return init_from_local_shards(shards, *leaf.shape)

    def dtensor(self, full: Any, leaf: Sharded) -> Any:
        from torch.distributed.tensor import DTensor, Replicate, Shard
        from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

        mesh = self.mesh(len(leaf.by))
        placements = [Replicate() if dimension is None else Shard(dimension) for dimension in leaf.by]
        sizes, offsets = compute_local_shape_and_global_offset(full.shape, mesh, placements)
        local = full
        for dimension, (size, offset) in enumerate(zip(sizes, offsets, strict=True)):
            local = local.narrow(dimension, min(offset, full.shape[dimension]), size)
        return DTensor.from_local(
            local.clone(), mesh, placements, run_check=False, shape=full.shape, stride=full.stride()
        )

    def mesh(self, axes: int) -> Any:
        from torch.distributed.device_mesh import init_device_mesh

        from faultkit.checkpointers.parts.kept import kept

        pairs = 2 if self.world_size >= 4 and self.world_size % 2 == 0 else 1
        shape = (self.world_size,) if axes == 1 else (pairs, self.world_size // pairs)
        return kept(f"mesh of drawn states {shape}", lambda: init_device_mesh("cpu", shape))


def _written(node: Any) -> str:
    """`node` as Python.  Alone, `repr` writes ``inf``, ``nan`` and ``infj``, and ``-1j``, which loses a zero's sign."""
    if type(node) is dict:
        return "{" + ", ".join(f"{_written(key)}: {_written(value)}" for key, value in node.items()) + "}"
    if type(node) is list:
        return "[" + ", ".join(map(_written, node)) + "]"
    if type(node) is tuple:
        return "(" + ", ".join(map(_written, node)) + ("," if len(node) == 1 else "") + ")"
    if type(node) is float and not math.isfinite(node):
        return f"float({str(node)!r})"
    if type(node) is complex:
        return f"complex({_written(node.real)}, {_written(node.imag)})"
    return repr(node)


def _leaves(node: Any) -> Iterator[Any]:
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _leaves(value)
    else:
        yield node


def _is_pooled(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.layout == "pooled"


def _bytes_of(torch: Any, leaf: Any) -> int:
    return int(math.prod(leaf.shape) * getattr(torch, leaf.dtype).itemsize)


def _differences(path: str, expected: Any, seen: Any) -> Iterator[str]:
    # Stricter than `faultkit.state_values`, for what is loaded in place: keys have their order, lists are no tuples.
    where = path.lstrip(".") or "the state"
    if type(expected) is not type(seen):
        yield f"{where} must be a {type(expected).__name__} (got a {type(seen).__name__})"
    elif isinstance(expected, dict):
        if list(expected) != list(seen):
            yield f"{where} must have the keys {list(expected)} (got {list(seen)})"
        for key in (key for key in expected if key in seen):
            yield from _differences(f"{path}.{key}", expected[key], seen[key])
    elif isinstance(expected, list):
        if len(expected) != len(seen):
            yield f"{where} must have {len(expected)} elements (got {len(seen)})"
        for place, (one, other) in enumerate(zip(expected, seen, strict=False)):
            yield from _differences(f"{path}.{place}", one, other)
    elif hasattr(expected, "dtype"):
        yield from _tensor_differences(where, expected, seen)
    elif repr(expected) != repr(seen):  # of equal type; what is not a number equals itself this way
        yield f"{where} must be {_shown(expected)} (got {_shown(seen)})"


def _tensor_differences(where: str, expected: Any, seen: Any) -> Iterator[str]:
    from faultkit.state_values import bytes_of, parts_of  # imports torch

    for name in ("dtype", "shape"):
        if getattr(expected, name) != getattr(seen, name):
            yield f"{where} must have {name} {getattr(expected, name)} (got {getattr(seen, name)})"
            return
    for one, other in zip(parts_of(expected), parts_of(seen), strict=True):
        unequal = bytes_of(one).ne(bytes_of(other))
        if unequal.any():
            yield f"{where} differs from the {int(unequal.nonzero()[0])}th of its {unequal.numel()} bytes on"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
