"""Moves the content of a collective call between the tensors of its members, all at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed import ReduceOp

if TYPE_CHECKING:
    from faultkit.worlds.simulated.operations import Operation

__all__ = ["Data", "move"]

CHECKED_COUNT_MIN = 8  # from so many outputs on it pays to see whether they lie side by side


class Data:
    """The tensors of one call: inputs, outputs, what reduces them, and the bytes that one message carries."""

    __slots__ = ("element", "inputs", "length", "op", "outputs")

    def __init__(
        self, inputs: list[Any], outputs: list[Any], op: Any = None, length: int = 0, element: int = 1
    ) -> None:
        self.inputs, self.outputs, self.op, self.length, self.element = inputs, outputs, op, length, element

    def fits(self, other: Data) -> bool:
        """Whether both move as many bytes, of as many elements."""
        return self.length == other.length and self.element == other.element

    def flat(self) -> list[Any]:
        """The outputs, one after the other."""
        return [t for one in self.outputs for t in (one if isinstance(one, list | tuple) else [one])]

    def ends(self, op: Operation) -> tuple[Any, Any]:
        """What the program of a call sends from and receives into, where content moves by message."""
        if op.kind == "broadcast":
            return None, self.outputs[0]
        if op.kind == "gather":
            return (self.inputs[0], None) if op.member != op.root else (None, self.outputs[0])
        if op.kind == "scatter":
            return (None, self.outputs[0]) if op.member != op.root else (self.inputs[0], None)
        return None, None


def move(ops: list[Operation]) -> None:
    """Do the call of all members, in the order of the members."""
    _MOVES[ops[0].kind](ops)


def _nothing(ops: list[Operation]) -> None:
    pass


def _allgather(ops: list[Operation]) -> None:
    sources = [op.data.inputs[0].detach() for op in ops]
    joined = None
    for op in ops:
        outputs = op.data.outputs[0]
        if len(outputs) >= CHECKED_COUNT_MIN and _lie_side_by_side(outputs):
            if joined is None:
                joined = torch.cat([source.reshape(-1) for source in sources])
            if joined.dtype == outputs[0].dtype:
                outputs[0].detach().as_strided((joined.numel(),), (1,)).copy_(joined)
                continue
        for source, target in zip(sources, outputs, strict=True):
            target.detach().copy_(source if source.shape == target.shape else source.view_as(target))


def _lie_side_by_side(tensors: list[Any]) -> bool:
    first = tensors[0]
    step = first.numel() * first.element_size()
    start = first.data_ptr()
    return first.is_contiguous() and [t.data_ptr() for t in tensors] == list(
        range(start, start + step * len(tensors), step or 1)
    )


def _reduced(tensors: list[Any], op: Any) -> Any:
    kinds = ReduceOp.RedOpType
    kind = getattr(op, "op", op)
    if kind in (kinds.BAND, kinds.BOR, kinds.BXOR):
        combine = {
            kinds.BAND: torch.bitwise_and,
            kinds.BOR: torch.bitwise_or,
            kinds.BXOR: torch.bitwise_xor,
        }[kind]
        result = tensors[0].clone()
        for tensor in tensors[1:]:
            result = combine(result, tensor)
        return result
    stacked = torch.stack([tensor.detach() for tensor in tensors])
    if kind == kinds.PRODUCT:
        return stacked.prod(0, dtype=stacked.dtype)
    if kind == kinds.MIN:
        return stacked.amin(0)
    if kind == kinds.MAX:
        return stacked.amax(0)
    result = stacked.sum(0, dtype=stacked.dtype)
    return result / len(tensors) if kind == kinds.AVG else result


def _allreduce(ops: list[Operation]) -> None:
    if ops[0].data.inputs[0].layout == torch.sparse_coo:
        total = sum((op.data.inputs[0] for op in ops[1:]), start=ops[0].data.inputs[0]).coalesce()
        for op in ops:
            op.data.outputs[0].copy_(total)
        return
    for place in range(len(ops[0].data.inputs)):
        result = _reduced([op.data.inputs[place] for op in ops], ops[0].data.op)
        for op in ops:
            target = op.data.outputs[place].detach()
            target.copy_(result if result.shape == target.shape else result.view_as(target))


def _reduce(ops: list[Operation]) -> None:
    result = _reduced([op.data.inputs[0] for op in ops], ops[0].data.op)
    ops[ops[0].root].data.outputs[0].detach().copy_(result)


def _reduce_scatter(ops: list[Operation]) -> None:
    for member, one in enumerate(ops):
        result = _reduced([op.data.inputs[0][member] for op in ops], ops[0].data.op)
        one.data.outputs[0].detach().copy_(result.view_as(one.data.outputs[0]))


def _alltoall(ops: list[Operation]) -> None:
    for member, one in enumerate(ops):
        for source, op in enumerate(ops):
            one.data.outputs[0][source].detach().copy_(op.data.inputs[0][member])


_MOVES: dict[str, Callable[[list[Operation]], None]] = {
    "allgather": _allgather,
    "allreduce": _allreduce,
    "alltoall": _alltoall,
    "barrier": _nothing,
    "reduce": _reduce,
    "reduce_scatter": _reduce_scatter,
}
