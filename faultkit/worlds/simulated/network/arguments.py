"""The arguments of calls as gloo takes them: what it refuses, and which bytes of a tensor it sends.

Messages and types of the errors are those of torch's process group for gloo; user code may look at them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from faultkit.worlds.simulated.network.data_movement import Data, bytes_of

__all__ = [
    "element_error",
    "exchanged",
    "exchanged_lists",
    "operator_of",
    "require_dense",
    "require_like",
    "require_parts",
    "require_tag",
    "whole",
]

ELEMENTS = frozenset(
    (
        torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.bool, torch.int32,
        torch.int64, torch.complex32, torch.complex64, torch.complex128,
    )
)  # fmt: skip
TAG_MAX = 2**31 - 1


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
    element = tensors[0].element_size() // (2 if tensors[0].is_complex() else 1)
    return Data(tensors, tensors, op, sum(map(bytes_of, tensors)), element)


def element_error(data: Data) -> RuntimeError | None:
    """What a call ends with whose elements gloo has no type for."""
    for one in (*data.inputs[:1], *data.outputs[:1]):
        tensor = one if isinstance(one, torch.Tensor) else next(iter(one), None)
        if tensor is not None:
            return None if tensor.dtype in ELEMENTS else RuntimeError("Invalid scalar type")
    return None


def require_dense(name: str, tensor: Any) -> None:
    if tensor.layout != torch.strided:
        raise NotImplementedError(
            f"Could not run 'c10d::{name}' with arguments from the 'SparseCPU' backend."
        )


def require_tag(kind: str, tag: int) -> None:
    if not -TAG_MAX - 1 <= tag <= TAG_MAX:
        raise TypeError(
            f"{kind}(): incompatible function arguments. A tag is a number of 32 bits (got {tag})."
        )
    if tag < 0:
        raise RuntimeError("Tag must be nonnegative")


def require_parts(count: int, output: Any, given: Any) -> None:
    """Raise where `given` is not as many times the output as there are members."""
    rows, all_rows = list(output.size()), list(given.size())
    checks = [
        ("outputTensors[i].dtype() == inputTensors[i].dtype()", _named(output.dtype), _named(given.dtype)),
        ("outputShape[0] * worldSize == inputShape[0]", rows[0] * count, all_rows[0]),
        *(("outputShape[i] == inputShape[i]", *pair) for pair in zip(rows[1:], all_rows[1:], strict=False)),
    ]
    for rule, here, there in checks:
        if here != there:
            raise RuntimeError(f"[ProcessGroupGloo.cpp] Check failed: {rule} ({here} vs. {there}). ")


def _named(dtype: Any) -> str:
    names = {torch.float32: "float", torch.float64: "double", torch.int64: "long int", torch.int32: "int"}
    return names.get(dtype, str(dtype).removeprefix("torch."))


def exchanged_lists(member: int, count: int, outputs: Any, inputs: Any) -> Data:
    """What a member brings to an `all_to_all` of lists."""
    kind = "ProcessGroupGloo::alltoall"
    for name, tensors in (("input", inputs), ("output", outputs)):
        if len(tensors) != count:
            raise RuntimeError(
                f"{kind}: {name} tensor list size {len(tensors)} does not match world size {count}"
            )
    for tensors in (outputs, inputs):
        require_like("alltoall", tensors[0], tensors)
    if outputs[0].size() != inputs[0].size():
        raise RuntimeError(f"{kind}: input and output tensors must have the same size")
    return Data([inputs], [outputs], None, bytes_of(inputs[0]))


def exchanged(member: int, count: int, output: Any, given: Any, wanted: Any, sent: Any) -> Data:
    """What a member brings to an `all_to_all` of one tensor: in equal parts of its bytes, or as the splits say."""
    if not output.is_contiguous() or not given.is_contiguous():
        raise ValueError("Tensors must be contiguous")
    if not wanted and not sent:
        ins, outs = _equal_parts(given, count), _equal_parts(output, count)
        data = Data([ins], [outs], None, bytes_of(ins[0]))
        if bytes_of(given) != bytes_of(output):
            data.error = RuntimeError("[enforce fail at gloo/alltoall.cc] in->size == out->size. ")
    else:
        ins, outs = _split(given, sent, count), _split(output, wanted, count)
        data = Data([ins], [outs])
        data.is_uneven = True
        if bytes_of(ins[member]) != bytes_of(outs[member]):
            data.error = RuntimeError(
                "[enforce fail at gloo/alltoallv.cc] inLengthPerRank[myRank] == outLengthPerRank[myRank]. "
            )
    data.whole = output
    return data


def _equal_parts(tensor: Any, count: int) -> list[Any]:
    flat = tensor.detach().view(-1)
    if flat.numel() % count:
        flat = flat.view(torch.uint8)
        flat = flat[: flat.numel() // count * count]
    return list(flat.tensor_split(count))


def _split(tensor: Any, sizes: Any, count: int) -> list[Any]:
    if not sizes:
        if tensor.size(0) % count:
            raise RuntimeError("Tensor's dim 0 does not divide equally across group size")
        sizes = [tensor.size(0) // count] * count
    if len(sizes) != count:
        raise RuntimeError("Number of tensor splits not equal to group size")
    if sum(sizes) != tensor.size(0):
        raise RuntimeError("Split sizes doesn't match total dim 0 size")
    return list(tensor.detach().split(list(sizes)))


def operator_of(opts: Any, tensor: Any) -> Any:
    op = opts.reduceOp if opts is not None else dist.ReduceOp.SUM
    kind = getattr(op, "op", op)
    kinds = dist.ReduceOp.RedOpType
    if kind == kinds.PREMUL_SUM:
        raise RuntimeError("Cannot use ReduceOp.PREMUL_SUM with Gloo")
    if tensor.layout == torch.sparse_coo and kind != kinds.SUM:
        raise RuntimeError(
            "ProcessGroupGloo::allreduce: unsupported reduction operation "
            "(allreduce of sparse tensors only works with ReduceOp.SUM)"
        )
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
        if other.size() != size:
            raise RuntimeError(
                f"ProcessGroupGloo::{kind}: invalid tensor size at index {index} "
                f"(expected {_dimensions(size)}, got {_dimensions(other.size())})"
            )


def _dimensions(size: Any) -> str:
    return f"({', '.join(map(str, size))})"
