"""What each value of a state is at a moment, kept as a checksum, so that it can be told later whether it is that still.

A state is nested mappings, lists and tuples; names are the keys joined by dots, as the stock engine joins them.  Not
covered: the elements of tensors that are not in the memory of the CPU, and of sparse and quantized ones, of which dtype
and shape are kept; of an object that is no plain value only the type; whether a sequence is a list or a tuple.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.distributed._shard.sharded_tensor import ShardedTensor
from torch.distributed.tensor import DTensor

from faultkit.injection.engine import content
from faultkit.state_values import bytes_of

__all__ = [
    "CAST",
    "GONE",
    "SHAPE",
    "VALUE",
    "Leaf",
    "address_of",
    "difference",
    "leaf_of",
    "named",
    "subset_of",
]

CAST, GONE, KIND, SHAPE, VALUE = "cast", "gone", "kind", "shape", "value"
TEXT_CHARACTERS = 40
PLAIN = (torch.Tensor, torch.nn.Parameter)  # of which the elements lie where they say


class Leaf(NamedTuple):
    """One value: `told` is its checksum, None where that is not known; `text` is what evidence shows of it.

    Of a distributed tensor `shape` is that of the whole, `told` is of what this rank has, and `spread` says which part.
    """

    kind: str
    told: Any
    text: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    spread: str = ""


def named(state: Any, name: str = "") -> dict[str, Any]:
    """Each leaf of `state` by its name; empty containers have none."""
    found: dict[str, Any] = {}
    waiting = [(name, state)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{name}.{key}" if name else str(key), part) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{name}.{place}" if name else str(place), part) for place, part in enumerate(value)]
        else:
            found[name] = value
    return found


def leaf_of(value: Any) -> Leaf:
    """What `value` is now."""
    if isinstance(value, torch.Tensor):
        dtype, shape = str(value.dtype).removeprefix("torch."), tuple(value.shape)
        if isinstance(value, ShardedTensor):
            shards = content.pieces_of(value)
            sums = tuple(_checksum(shard) for _, _, shard in shards)
            return Leaf("tensor", sums, dtype, dtype, shape, str([offsets for offsets, _, _ in shards]))
        spread = ""
        if isinstance(value, DTensor):
            spread, value = str(value.placements), value.to_local()
        return Leaf("tensor", _checksum(value), dtype, dtype, shape, spread)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        told = repr(value)
        if len(told) <= TEXT_CHARACTERS:
            return Leaf(type(value).__name__, told, told)
    return Leaf(type(value).__name__, content.checksum(value), type(value).__name__)


def difference(then: Leaf, now: Leaf | None, value_then: Any = None, value_now: Any = None) -> str:
    """In what a value is no longer what it was: "" for nothing, else one of the words of this module.

    With the values themselves a cast is told from another value, and a part of a tensor is compared with the whole.
    """
    if now is None:
        return GONE
    if then.kind != now.kind:
        return KIND
    if then.kind != "tensor":
        return "" if then.told == now.told else VALUE
    if then.shape != now.shape:
        return SHAPE
    if then.spread != now.spread:
        return _difference_of_parts(then, now, value_then, value_now)
    if then.dtype != now.dtype:
        return CAST if _is_cast(value_then, value_now) else VALUE
    return VALUE if None not in (then.told, now.told) and then.told != now.told else ""


def subset_of(whole: torch.Tensor, offsets: list[int], sizes: list[int]) -> torch.Tensor:
    """That part of `whole`."""
    for dimension, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
        whole = whole.narrow(dimension, offset, size)
    return whole


def address_of(value: Any) -> int | None:
    """Where the elements of a tensor lie that this rank has, 0 where it has none; None for what is no tensor."""
    if not isinstance(value, torch.Tensor) or isinstance(value, ShardedTensor):
        return None
    return (value.to_local() if isinstance(value, DTensor) else value).data_ptr()


def _checksum(tensor: torch.Tensor) -> int | None:
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_quantized:
        return None
    if type(tensor) in PLAIN and tensor.is_contiguous() and not tensor.is_conj() and not tensor.is_neg():
        count = (
            tensor.numel() * tensor.element_size()
        )  # read in place: a view for every tensor takes thrice the time
        return zlib.crc32((ctypes.c_char * count).from_address(tensor.data_ptr())) if count else 0
    return zlib.crc32(bytes_of(tensor).numpy())


def _difference_of_parts(then: Leaf, now: Leaf, value_then: Any, value_now: Any) -> str:
    """Where one of the two is the whole, and the other what this rank has of it."""
    if then.dtype != now.dtype:
        return CAST
    if then.spread or not isinstance(value_then, torch.Tensor) or _checksum(value_then) != then.told:
        return ""  # to have the whole of what is spread would take all ranks
    for offsets, sizes, part in content.pieces_of(value_now):
        if _checksum(subset_of(value_then.detach(), list(offsets), list(sizes))) != _checksum(part):
            return VALUE
    return ""


def _is_cast(value_then: Any, value_now: Any) -> bool:
    """Whether the second is the first in another dtype; so taken where that cannot be told."""
    try:
        with torch.no_grad():
            one, other = (value.to_local() if isinstance(value, DTensor) else value for value in
                          (value_then, value_now))  # fmt: skip
            return _checksum(one.detach().to(other.dtype)) == _checksum(other)
    except Exception:
        return True
