"""Moves the content of a collective call between the tensors of its members, all at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from faultkit.worlds.simulated.network.reductions import average, ring, typed

if TYPE_CHECKING:
    from faultkit.worlds.simulated.network.operations import Operation

__all__ = ["Data", "bytes_of", "fit", "move"]

CHECKED_COUNT_MIN = 8  # from so many outputs on it pays to see whether they lie side by side


class Data:
    """The tensors of one call: inputs, outputs, what reduces them, and the bytes that one message carries.

    `error` is what the call of its member ends with, whatever the others do.  `whole` is the output whose parts the
    outputs are, where there is one.
    """

    __slots__ = ("element", "error", "inputs", "is_uneven", "length", "op", "outputs", "whole")

    def __init__(
        self, inputs: list[Any], outputs: list[Any], op: Any = None, length: int = 0, element: int = 1
    ) -> None:
        self.inputs, self.outputs, self.op, self.length, self.element = inputs, outputs, op, length, element
        self.error: BaseException | None = None
        self.is_uneven = False  # its messages have lengths of their own
        self.whole: Any = None

    def flat(self) -> list[Any]:
        """The outputs, one after the other."""
        return [t for one in self.outputs for t in (one if isinstance(one, list | tuple) else [one])]

    def result(self) -> list[Any]:
        """What `Work.result` and its future give."""
        return self.flat() if self.whole is None else [self.whole]

    def keep_own(self, member: int) -> None:
        """Copy what a member of an `all_to_all` sends itself."""
        self.outputs[0][member].detach().copy_(self.inputs[0][member].view_as(self.outputs[0][member]))

    def ends(self, op: Operation) -> tuple[Any, Any]:
        """What the program of a call sends from and receives into, where content moves by message."""
        if op.kind == "broadcast":
            return None, self.outputs[0]
        if op.kind == "reduce":
            return None, typed(self.outputs[0])
        if op.kind == "alltoall":
            return self.inputs[0], self.outputs[0]
        if op.kind == "gather":
            return (self.inputs[0], None) if op.member != op.root else (None, self.outputs[0])
        if op.kind == "scatter":
            return (None, self.outputs[0]) if op.member != op.root else (self.inputs[0], None)
        return None, None


def fit(calls: list[Data]) -> bool:
    """Whether what each member sends is what the others ask for: as many bytes, of as many elements."""
    first = calls[0]
    if any(one.length != first.length or one.element != first.element for one in calls):
        return False
    if not any(one.is_uneven for one in calls):
        return True
    sent = [[bytes_of(tensor) for tensor in one.inputs[0]] for one in calls]
    wanted = [[bytes_of(tensor) for tensor in one.outputs[0]] for one in calls]
    return wanted == [list(column) for column in zip(*sent, strict=True)]


def bytes_of(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())


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


def _allreduce(ops: list[Operation]) -> None:
    if ops[0].data.inputs[0].layout == torch.sparse_coo:
        _allreduce_sparse(ops)
        return
    rows = [typed(op.data.inputs[0]) if len(op.data.inputs) == 1 else _joined(op.data.inputs) for op in ops]
    result = ring(rows, ops[0].data.op)
    for op in ops:
        _fill(op.data.outputs, result)
        average(op.data, len(ops))


def _allreduce_sparse(ops: list[Operation]) -> None:
    tensors = [op.data.inputs[0] for op in ops]
    if any(tensor.size() != tensors[0].size() for tensor in tensors):
        for op in ops:
            op.data.error = RuntimeError("Sparse dimensions do not match")
        return
    total = sum(tensors[1:], start=tensors[0]).coalesce()
    for op in ops:
        op.data.outputs[0].copy_(total)


def _joined(tensors: list[Any]) -> Any:
    return torch.cat([typed(tensor) for tensor in tensors])


def _fill(tensors: list[Any], flat: Any) -> None:
    """Cut `flat` into the tensors."""
    start = 0
    for tensor in tensors:
        target = typed(tensor)
        target.copy_(flat[start : start + target.numel()])
        start += target.numel()


def _reduce_scatter(ops: list[Operation]) -> None:
    """A `reduce` to each member."""
    counts = {tensor.numel() for op in ops for tensor in op.data.inputs[0]}
    if len(counts) == 1:
        rows = [_joined(op.data.inputs[0]) for op in ops]
        results = ring(rows, ops[0].data.op, width=rows[0].numel() // len(ops)).view(len(ops), -1)
    else:
        parts = [[typed(op.data.inputs[0][member]) for op in ops] for member in range(len(ops))]
        results = [ring(rows, ops[0].data.op, width=rows[0].numel()) for rows in parts]
    for op, result in zip(ops, results, strict=True):
        _fill(op.data.outputs, result)
        average(op.data, len(ops))


def _alltoall(ops: list[Operation]) -> None:
    for member, one in enumerate(ops):
        for source, op in enumerate(ops):
            target = one.data.outputs[0][source].detach()
            target.copy_(op.data.inputs[0][member].view_as(target))


_MOVES: dict[str, Callable[[list[Operation]], None]] = {
    "allgather": _allgather,
    "allreduce": _allreduce,
    "alltoall": _alltoall,
    "barrier": _nothing,
    "reduce_scatter": _reduce_scatter,
}
