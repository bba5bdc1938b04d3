"""The arguments of calls as gloo takes them: what it refuses, and which bytes of a tensor it sends.

Messages and types of the errors are those of torch's process group for gloo; user code may look at them.
"""

from __future__ import annotations

import math
from typing import Any

import torch.distributed as dist

from faultkit.worlds.simulated.moves import Data

__all__ = ["bytes_of", "operator_of", "require_like", "split", "whole"]


def bytes_of(tensor: Any) -> int:
    return tensor.numel() * tensor.element_size()


def _raw(tensor: Any) -> Any:
    """What gloo takes a tensor for: as many elements as it has, from where its memory begins."""
    if tensor.is_contiguous():
        return tensor
    try:
        return tensor.detach().as_strided((tensor.numel(),), (1,))
    except RuntimeError:  # there is less memory than elements
        return tensor


def whole(given: Any, op: Any = None) -> Data:
    tensors = [_raw(tensor) for tensor in given]
    return Data(tensors, tensors, op, sum(map(bytes_of, tensors)), tensors[0].element_size())


def split(tensor: Any, sizes: Any, count: int) -> list[Any]:
    if sizes:
        if sum(sizes) != tensor.size(0):
            raise RuntimeError("Split sizes doesn't match total dim 0 size")
        return list(tensor.split(list(sizes)))
    if tensor.size(0) % count:
        raise RuntimeError("Tensor's dim 0 does not divide equally across group size")
    return list(tensor.split(tensor.size(0) // count)) if tensor.numel() else [tensor] * count


def operator_of(opts: Any, tensor: Any) -> Any:
    op = opts.reduceOp if opts is not None else dist.ReduceOp.SUM
    kind = getattr(op, "op", op)
    kinds = dist.ReduceOp.RedOpType
    if kind == kinds.PREMUL_SUM:
        raise RuntimeError("Cannot use ReduceOp.PREMUL_SUM with Gloo")
    is_bitwise = kind in (kinds.BAND, kinds.BOR, kinds.BXOR)
    if is_bitwise and (tensor.is_floating_point() or tensor.is_complex()):
        name = str(kind).rpartition(".")[2]
        raise RuntimeError(f"Cannot use ReduceOp.{name} with non-integral dtype")
    return op


def require_like(kind: str, tensor: Any, others: Any) -> None:
    """Raise where one of the tensors has another size or type than the first."""
    size, dtype = tensor.size(), tensor.dtype
    for index, other in enumerate(others):
        if other.dtype != dtype:
            raise RuntimeError(
                f"ProcessGroupGloo::{kind}: invalid tensor type at index {index} "
                f"(expected {dtype}, got {other.dtype})"
            )
        if other.size() != size and other.numel() != math.prod(size):
            raise RuntimeError(
                f"ProcessGroupGloo::{kind}: invalid tensor size at index {index} "
                f"(expected {_dimensions(size)}, got {_dimensions(other.size())})"
            )


def _dimensions(size: Any) -> str:
    return f"({', '.join(map(str, size))})"
