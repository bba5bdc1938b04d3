"""The calls of a simulated rank's process group: what each refuses, and what it hands to the network.

Arguments are checked before anything is sent, as gloo does it, so a rank whose arguments are wrong raises alone.

Not covered: what a group is, and how it comes and goes (`faultkit.worlds.simulated.network.process_group`); coalescing,
which gloo does not have either.
"""

from __future__ import annotations

import functools
from time import thread_time
from typing import Any

import torch
import torch.distributed as dist

from faultkit.hooks.distributed_calls import COLLECTIVES
from faultkit.worlds.simulated.core.ranks import Rank
from faultkit.worlds.simulated.core.scheduler import Task
from faultkit.worlds.simulated.network.arguments import (
    element_error,
    exchanged,
    exchanged_lists,
    operator_of,
    require_dense,
    require_like,
    require_parts,
    require_tag,
    whole,
)
from faultkit.worlds.simulated.network.data_movement import Data, bytes_of
from faultkit.worlds.simulated.network.groups import Group
from faultkit.worlds.simulated.network.operations import Operation
from faultkit.worlds.simulated.network.works import (
    NO_TIMEOUT,
    UNSET_TIMEOUT,
    LaterWork,
    SeveralWorks,
    SimulatedWork,
    nanoseconds,
    required_task,
)

__all__ = ["GroupCalls"]


class GroupCalls(dist.ProcessGroup):
    """The calls of a process group, for a class that has the attributes below."""

    _rank: Rank
    _member: int
    _size: int
    _shared: Group
    _timeout_ns: int
    _count: int
    entered: int

    def _start(self, kind: str, data: Data, root: int = -1, timeout_ns: int | None = None) -> SimulatedWork:
        return SimulatedWork(self._enter(kind, data, root, timeout_ns))

    def _enter(self, kind: str, data: Data, root: int = -1, timeout_ns: int | None = None) -> Operation:
        began = thread_time()
        task = required_task()
        scheduler = task.scheduler
        scheduler.pause((kind, self._shared))
        self._count += 1
        op = Operation(self._rank, self._shared, kind, self._member, root, data, self._count)
        op.entered = self.entered
        op.timeout_ns = self._timeout_ns if timeout_ns is None else timeout_ns
        data.error = data.error or element_error(data)
        self._shared.network.enter(op)
        self._leave_if_dead(task)
        scheduler.own_seconds += thread_time() - began
        return op

    def _leave_if_dead(self, task: Task) -> None:
        if self._rank.state == "dead":
            task.scheduler.park()

    def _root(self, kind: str, root: int) -> int:
        if not 0 <= root < self._size:
            raise RuntimeError(f"ProcessGroupGloo::{kind}: invalid root rank: {root}")
        return root

    def allgather(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        (tensor,), (targets,) = inputs, outputs
        require_dense("allgather_", tensor)
        return self._gather_all(self._shared.object_sizes.share(targets, self._count + 1), tensor)

    def _gather_all(self, targets: Any, tensor: Any, looked_at: Any = ()) -> Any:
        """`looked_at` are the targets that stand for all, where they are alike."""
        if len(targets) != self._size:
            raise RuntimeError(
                f"ProcessGroupGloo::allgather: invalid output tensor list at index 0 (expected length "
                f"{self._size}, got {len(targets)})"
            )
        if not looked_at or any(
            one.size() != tensor.size() or one.dtype != tensor.dtype for one in looked_at
        ):
            require_like("allgather", tensor, targets)
        return self._start("allgather", Data([tensor], [targets], None, bytes_of(tensor)))

    def all_gather_single(self, output: Any, tensor: Any, opts: Any = None) -> Any:
        require_dense("_allgather_base_", tensor)
        parts = list(output.chunk(self._size))
        return self._gather_all(parts, tensor, (parts[0], parts[-1]))

    _allgather_base = all_gather_single

    def allgather_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        works = []
        for place, tensor in enumerate(inputs):
            works.append(self.allgather([[row[place] for row in outputs]], [tensor], opts))
        return SeveralWorks(works)

    def all_gather_single_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        return SeveralWorks(
            [self.all_gather_single(*pair, opts) for pair in zip(outputs, inputs, strict=True)]
        )

    allgather_into_tensor_coalesced = all_gather_single_coalesced

    def allreduce(self, tensors: Any, opts: Any = None) -> Any:
        op = operator_of(opts, tensors[0])
        if tensors[0].layout == torch.sparse_coo:
            return self._start("allreduce", Data(tensors, tensors, op))
        return self._start("allreduce", whole(tensors, op))

    def allreduce_coalesced(self, tensors: Any, opts: Any = None) -> Any:
        require_dense("allreduce_coalesced_", tensors[0])
        return self._start("allreduce", whole(tensors, operator_of(opts, tensors[0])))

    def broadcast(self, tensors: Any, opts: Any = None) -> Any:
        require_dense("broadcast_", tensors[0])
        root = self._root("broadcast", opts.rootRank)
        return self._start("broadcast", whole(tensors), root)

    def gather(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        require_dense("gather_", inputs[0])
        root = self._root("gather", opts.rootRank)
        if self._member == root:
            if len(outputs) != 1:
                raise RuntimeError(
                    "ProcessGroupGloo::gather: requires a single-element output list containing a list with "
                    f"{self._size} tensors."
                )
            if len(outputs[0]) != self._size:
                raise RuntimeError(
                    f"ProcessGroupGloo::gather: Incorrect output list size {len(outputs[0])}. Output list size "
                    f"should be {self._size}, same as size of the process group."
                )
            require_like("gather", inputs[0], outputs[0])
        elif outputs and outputs[0]:
            raise RuntimeError("ProcessGroupGloo::gather: requires empty output on non-root")
        return self._start("gather", Data(inputs, outputs, None, bytes_of(inputs[0])), root)

    def gather_single(self, output: Any, tensor: Any, opts: Any = None) -> Any:
        raise RuntimeError("Backend gloo does not support gather_single")

    gather_into_tensor = gather_single

    def scatter(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        require_dense("scatter_", outputs[0])
        root = self._root("scatter", opts.rootRank)
        if self._member == root:
            if len(inputs) != 1:
                raise RuntimeError(
                    "ProcessGroupGloo::scatter: requires a single-element input list containing a list with "
                    f"{self._size} tensors"
                )
            if len(inputs[0]) != self._size:
                raise RuntimeError(
                    f"ProcessGroupGloo::scatter: Incorrect input list size {len(inputs[0])}. Input list size "
                    f"should be {self._size}, same as size of the process group."
                )
            require_like("scatter", outputs[0], inputs[0])
        elif inputs and inputs[0]:
            raise RuntimeError("ProcessGroupGloo::scatter: requires empty input on non-root")
        return self._start("scatter", Data(inputs, outputs, None, bytes_of(outputs[0])), root)

    def reduce(self, tensors: Any, opts: Any = None) -> Any:
        require_dense("reduce_", tensors[0])
        root = self._root("reduce", opts.rootRank)
        return self._start("reduce", whole(tensors, operator_of(opts, tensors[0])), root)

    def reduce_scatter(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        (output,), (parts,) = outputs, inputs
        require_dense("reduce_scatter_", output)
        if len(parts) != self._size:
            raise RuntimeError("invalid input tensor list size, must be world size")
        if output.size() != parts[self._member].size():
            raise RuntimeError(
                "[ProcessGroupGloo.cpp] Check failed: outputs[0].sizes().vec() == inputs[0][i].sizes().vec() "
                f"({' '.join(map(str, output.size()))} vs. {' '.join(map(str, parts[self._member].size()))}). "
            )
        length = sum(map(bytes_of, parts))
        data = Data(inputs, outputs, operator_of(opts, output), length, output.element_size())
        return LaterWork([self._start("reduce_scatter", data)])

    def reduce_scatter_single(self, output: Any, tensor: Any, opts: Any = None) -> Any:
        """An `allreduce` of a copy, of which the member takes its part when it waits, as gloo has it."""
        require_parts(self._size, output, tensor)
        copy = tensor.detach().clone(memory_format=torch.contiguous_format)
        work = self._start("allreduce", whole([copy], operator_of(opts, copy)))
        return LaterWork([work], lambda: output.detach().copy_(copy.chunk(self._size)[self._member]))

    _reduce_scatter_base = reduce_scatter_single

    def reduce_scatter_single_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        pairs = zip(outputs, inputs, strict=True)
        return SeveralWorks([self.reduce_scatter_single(*pair, opts) for pair in pairs])

    reduce_scatter_tensor_coalesced = reduce_scatter_single_coalesced

    def alltoall(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        require_dense("alltoall_", outputs[0])
        return self._start("alltoall", exchanged_lists(self._member, self._size, outputs, inputs))

    def all_to_all_single(
        self, output: Any, tensor: Any, output_splits: Any = None, input_splits: Any = None, opts: Any = None
    ) -> Any:
        require_dense("alltoall_base_", tensor)
        return self._start(
            "alltoall", exchanged(self._member, self._size, output, tensor, output_splits, input_splits)
        )

    alltoall_base = all_to_all_single

    def barrier(self, opts: Any = None) -> Any:
        return self._start("barrier", Data([], []))

    def monitored_barrier(self, timeout: Any = None, wait_all_ranks: bool = False) -> None:
        own = timeout is not None and timeout != UNSET_TIMEOUT and self._member == 0
        if own and timeout <= NO_TIMEOUT and self._size > 1:
            milliseconds = nanoseconds(timeout) // 1_000_000
            raise RuntimeError(f"[Rank 0]: Rank 1 failed to pass monitoredBarrier in {milliseconds} ms")
        op = self._enter(
            "monitored_barrier", Data([], []), timeout_ns=nanoseconds(timeout) if own else self._timeout_ns
        )
        try:
            SimulatedWork(op).wait()
        except RuntimeError as error:
            if self._member == 0:
                raise RuntimeError(self._who_failed(op, wait_all_ranks, error)) from error
            raise RuntimeError(
                f"Rank {self._member} successfully reached monitoredBarrier, but received errors while waiting for "
                f"send/recv from rank 0. Please check rank 0 logs for faulty rank.\n Original exception: \n{error}"
            ) from error

    def _who_failed(self, op: Operation, wait_all_ranks: bool, error: RuntimeError) -> str:
        passed = self._shared.passed(op.slot)
        missing = [str(member) for member in range(1, self._size) if member not in passed]
        limit = f"failed to pass monitoredBarrier in {op.timeout_ns // 1_000_000} ms"
        if wait_all_ranks:
            return f"[Rank 0]: Rank{'s' if len(missing) > 1 else ''} {', '.join(missing)} {limit}"
        return f"[Rank 0]: Rank {missing[0] if missing else '?'} {limit}\n Original exception:\n{error}"

    # -- point to point --------------------------------------------------------------------------

    def _between(self, kind: str, tensors: Any, peer: int, tag: int) -> Operation:
        if len(tensors) != 1:
            raise RuntimeError(f"ProcessGroupGloo::{kind} takes a single tensor")
        require_tag(kind, tag)
        tensor = tensors[0]
        require_dense("send" if kind == "send" else f"{kind}_", tensor)
        if peer == self._member:
            raise RuntimeError(
                "[enforce fail at gloo/transport/tcp/pair.cc] state_ >= CONNECTED. 1 vs 4. Pair is not connected"
            )
        if not tensor.is_contiguous():
            raise RuntimeError("input tensor has to be contiguous")
        task = required_task()
        task.scheduler.pause((kind, self._shared, peer, tag))
        data = Data(tensors, tensors, None, bytes_of(tensor))
        op = Operation(self._rank, self._shared, kind, self._member, peer, data, 0, tag)
        op.timeout_ns = self._timeout_ns
        return op

    def send(self, tensors: Any, peer: int, tag: int = 0) -> Any:
        op = self._between("send", tensors, peer, tag)
        work = SimulatedWork(op)
        self._shared.network.send(op)
        self._leave_if_dead(required_task())
        return work

    def recv(self, tensors: Any, peer: int, tag: int = 0) -> Any:
        op = self._between("recv", tensors, peer, tag)
        work = SimulatedWork(op)
        self._shared.network.receive(op)
        self._leave_if_dead(required_task())
        return work

    def recv_anysource(self, tensors: Any, tag: int = 0) -> Any:
        op = self._between("recv_anysource", tensors, -1, tag)
        work = SimulatedWork(op)
        self._shared.network.receive_any(op)
        self._leave_if_dead(required_task())
        return work


def _counting(method: Any) -> Any:
    @functools.wraps(method)
    def call(self: GroupCalls, *args: Any, **kwargs: Any) -> Any:
        self.entered += 1
        return method(self, *args, **kwargs)

    return call


for _name in COLLECTIVES:
    if _name in vars(GroupCalls):
        setattr(GroupCalls, _name, _counting(vars(GroupCalls)[_name]))
