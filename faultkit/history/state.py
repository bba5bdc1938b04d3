"""The state that a history saves and loads: small tensors whose every element says which save it is of.

    weight              4 numbers, the same on every rank
    rows                5 x 2, a DTensor whose rows are spread over the ranks, so that another world reshards
    optimizer.exp_avg   2 numbers, a DTensor: in a world of three ranks the last one has none
    step                a plain integer

What stands in them follows from the step and the number of the save alone, so the process that judges knows
every byte without torch, and can say of every row which save it is of.  What is loaded into holds neither.
torch is imported where a state is built or read, which is on the ranks.  Not covered: every other kind of leaf;
`state_dicts` draws them.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from typing import Any

import msgspec

from faultkit.checkpointers import states
from faultkit.history.model import Version

__all__ = ["LEAVES", "Leaf", "Part", "content", "empty_like", "filled", "read", "spans"]

STEP = "step"
BLANK = -1.0
_BYTES = 4  # of an element of float32


class Leaf(msgspec.Struct, frozen=True):
    """A tensor of the state, of float32.  `path` is its keys, joined by dots."""

    path: str
    shape: tuple[int, ...]
    is_sharded: bool

    @property
    def row_bytes(self) -> int:
        return _BYTES * (self.shape[1] if len(self.shape) > 1 else 1)


LEAVES = (
    Leaf("weight", (4,), False),
    Leaf("rows", (5, 2), True),
    Leaf("optimizer.exp_avg", (2,), True),
)


class Part(msgspec.Struct, frozen=True):
    """What one rank found in a leaf: rows from `first_row` on, as bytes; or `malformed`, why it cannot be read."""

    first_row: int = 0
    data: bytes = b""
    malformed: str = ""


@functools.lru_cache(maxsize=4096)
def content(leaf: Leaf, version: Version) -> bytes:
    """All rows of `leaf` in `version`: whole numbers from 0 to 65535, as little-endian float32."""
    count = leaf.shape[0] * leaf.row_bytes // _BYTES
    seed = f"{leaf.path} {version.step} {version.number}"
    numbers = struct.unpack(f"<{count}H", hashlib.shake_128(seed.encode()).digest(2 * count))
    return struct.pack(f"<{count}f", *numbers)


def spans(leaf: Leaf, rank: int, world_size: int) -> tuple[int, int]:
    """The first row that `rank` has, and the first after it that it does not have."""
    count = leaf.shape[0]
    if not leaf.is_sharded:
        return 0, count
    chunk = -(-count // world_size)
    return min(rank * chunk, count), min((rank + 1) * chunk, count)


def filled(version: Version) -> dict[str, Any]:
    """The state of `version` on this rank.  All ranks must call this."""
    return _state({leaf.path: content(leaf, version) for leaf in LEAVES}, version.step)


def empty_like() -> dict[str, Any]:
    """A state of the same shape on this rank to load into, with values that no version has."""
    empty = {leaf.path: struct.pack("<f", BLANK) * (len(content(leaf, _ANY)) // _BYTES) for leaf in LEAVES}
    return _state(empty, int(BLANK))


def read(state: Any) -> dict[str, Part]:
    """What stands in the state on this rank, by leaf; a leaf that is not as `empty_like` made it is malformed."""
    parts = {leaf.path: _part(leaf, _found(state, leaf.path)) for leaf in LEAVES}
    step = _found(state, STEP)
    if type(step) is int:
        parts[STEP] = Part(0, str(step).encode())
    else:
        parts[STEP] = Part(malformed=f"must be an int (got a {type(step).__name__})")
    return parts


_ANY = Version(0, 0)


def _state(full: dict[str, bytes], step: int) -> dict[str, Any]:
    import torch.distributed as dist

    rank, world_size = dist.get_rank(), dist.get_world_size()
    mesh = states.mesh(world_size)
    state: dict[str, Any] = {STEP: step}
    for leaf in LEAVES:
        low, high = spans(leaf, rank, world_size)
        data = full[leaf.path][low * leaf.row_bytes : high * leaf.row_bytes]
        *outer, name = leaf.path.split(".")
        place = state
        for key in outer:
            place = place.setdefault(key, {})
        place[name] = _tensor(leaf, data, high - low, mesh)
    return state


def _tensor(leaf: Leaf, data: bytes, rows: int, mesh: Any) -> Any:
    import torch

    shape = (rows, *leaf.shape[1:])
    local = torch.frombuffer(bytearray(data), dtype=torch.float32) if data else torch.empty(0)
    local = local.reshape(shape)
    if not leaf.is_sharded:
        return local
    from torch.distributed.tensor import DTensor, Shard

    whole = torch.Size(leaf.shape)
    strides = (leaf.shape[1], 1) if len(leaf.shape) > 1 else (1,)
    return DTensor.from_local(local, mesh, [Shard(0)], run_check=False, shape=whole, stride=strides)


def _found(state: Any, path: str) -> Any:
    for key in path.split("."):
        state = state.get(key) if isinstance(state, dict) else None
    return state


def _part(leaf: Leaf, found: Any) -> Part:
    import torch
    import torch.distributed as dist
    from torch.distributed.tensor import DTensor

    wanted = DTensor if leaf.is_sharded else torch.Tensor
    if not isinstance(found, wanted) or isinstance(found, DTensor) != leaf.is_sharded:
        return Part(malformed=f"must be a {wanted.__name__} (got a {type(found).__name__})")
    if tuple(found.shape) != leaf.shape or found.dtype != torch.float32:
        return Part(
            malformed=f"must be float32 of shape {leaf.shape} (got {found.dtype} of {tuple(found.shape)})"
        )
    low, high = spans(leaf, dist.get_rank(), dist.get_world_size())
    local = found.to_local() if isinstance(found, DTensor) else found
    if local.shape[0] != high - low:
        return Part(malformed=f"must have {high - low} rows on this rank (got {local.shape[0]})")
    return Part(low, local.detach().contiguous().numpy().tobytes())
