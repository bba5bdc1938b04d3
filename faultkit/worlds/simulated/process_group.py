"""The process group of a simulated rank: the interface of torch.distributed on the simulated network.

Promises.  A `SimulatedGroup` is what `ProcessGroupGloo` is to user code: the same calls, the same refusals with
the same type of error, the same name.  Arguments are checked before anything is sent, as gloo does it, so a rank
whose arguments are wrong raises alone.  A group is formed when all of its members have come.

Left out: devices other than the CPU, coalescing, and the hooks of other backends.
"""

from __future__ import annotations

import functools
from time import thread_time
from typing import Any

import torch
import torch.distributed as dist

from faultkit.worlds import collectives
from faultkit.worlds.simulated.arguments import bytes_of, operator_of, require_like, split, whole
from faultkit.worlds.simulated.groups import Group
from faultkit.worlds.simulated.moves import Data
from faultkit.worlds.simulated.network import Network
from faultkit.worlds.simulated.operations import Operation
from faultkit.worlds.simulated.ranks import Rank, current_rank
from faultkit.worlds.simulated.scheduler import Task, current_task
from faultkit.worlds.simulated.works import (
    NO_TIMEOUT,
    SeveralWorks,
    SimulatedWork,
    nanoseconds,
    required_task,
)

__all__ = ["SimulatedGroup", "use"]

_network: Network | None = None


def use(network: Network) -> None:
    """From now on groups are made on this network."""
    global _network
    _network = network


class _Options:
    def __init__(self) -> None:
        self.global_ranks_in_group: list[int] = []
        self.group_name = ""


class SimulatedGroup(dist.ProcessGroup):
    """A process group as one of its members has it; `timeout` is the group's."""

    def __init__(self, store: Any, member: int, size: int, timeout: Any = None) -> None:
        super().__init__(member, size)
        rank = current_rank()
        if rank is None:
            raise RuntimeError("a simulated process group belongs to a simulated rank")
        self._rank: Rank = rank
        self._member, self._size, self._store = member, size, store
        self._timeout_ns = nanoseconds(timeout) if timeout else 0
        self._name = ""
        self._shared: Group = None  # type: ignore[assignment]
        self._count = 0
        self.entered = 0  # calls that were made, also those that were refused
        self._is_destroyed = False
        self.options = _Options()

    # -- what it is ------------------------------------------------------------------------------

    def rank(self) -> int:
        return self._member

    def size(self) -> int:
        return self._size

    @property
    def group_name(self) -> str:
        return self._name

    def name(self) -> str:
        return "gloo"

    getBackendName = _get_backend_name = name

    @property
    def _device_types(self) -> list[Any]:
        return [torch.device("cuda"), torch.device("cpu")]

    def _get_backend(self, device: Any) -> Any:
        return self

    def _has_hooks(self) -> bool:
        return False

    def _set_sequence_number_for_group(self) -> None:
        pass

    def _get_sequence_number_for_group(self) -> int:
        return self._count

    def set_timeout(self, timeout: Any) -> None:
        self._timeout_ns = nanoseconds(timeout)

    _set_default_timeout = set_timeout

    def get_group_store(self) -> Any:
        return self._store

    def _set_group_name(self, name: str) -> None:
        super()._set_group_name(name)
        self.join(str(name), tuple(self.options.global_ranks_in_group or range(self._size)))

    def join(self, name: str, ranks: tuple[int, ...], *, is_formed: bool = False) -> None:
        """Wait until all members have come; not where they are known to be there."""
        assert _network is not None
        self._name = name
        made = self._rank.groups_made
        number = made[name, ranks] = made.get((name, ranks), 0) + 1
        shared = self._shared = _network.group(name, ranks, number)
        self._rank.groups.append(self)
        if is_formed or self._size == 1:
            return
        task = required_task()
        task.scheduler.pause(("join", name))
        shared.joined[self._member] = task
        if len(shared.joined) == self._size:
            for other in shared.forming:
                task.scheduler.wake(other)
            shared.forming.clear()
        while len(shared.joined) < self._size:
            shared.forming.append(task)
            task.scheduler.block(("form", shared))

    def shutdown(self) -> None:
        """The group is destroyed: its connections close once nobody refers to it any more."""
        if self._shared is not None and self in self._rank.groups:
            required_task().scheduler.pause(("leave", self._name))
            self._rank.groups.remove(self)
            self._is_destroyed = True

    def abort(self) -> None:
        self.shutdown()
        self._close()

    def _close(self) -> None:
        if current_task() is not None and self._rank.state != "dead":
            self._shared.close(self._member)

    def __del__(self) -> None:
        if getattr(self, "_is_destroyed", False):
            self._close()

    # -- calls -----------------------------------------------------------------------------------

    def _start(self, kind: str, data: Data, root: int = -1, timeout_ns: int | None = None) -> SimulatedWork:
        began = thread_time()
        task = required_task()
        scheduler = task.scheduler
        scheduler.pause((kind, self._shared))
        self._count += 1
        op = Operation(self._rank, self._shared, kind, self._member, root, data, self._count)
        op.entered = self.entered
        op.timeout_ns = self._timeout_ns if timeout_ns is None else timeout_ns
        self._shared.network.enter(op)
        self._leave_if_dead(task)
        scheduler.own_seconds += thread_time() - began
        return SimulatedWork(op)

    def _leave_if_dead(self, task: Task) -> None:
        if self._rank.state == "dead":
            task.scheduler.park()

    def _root(self, kind: str, root: int) -> int:
        if not 0 <= root < self._size:
            raise RuntimeError(f"ProcessGroupGloo::{kind}: invalid root rank: {root}")
        return root

    def allgather(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        (tensor,), (targets,) = inputs, outputs
        if len(targets) != self._size:
            raise RuntimeError(
                f"ProcessGroupGloo::allgather: invalid output tensor list at index 0 (expected length "
                f"{self._size}, got {len(targets)})"
            )
        require_like("allgather", tensor, targets)
        return self._start("allgather", Data(inputs, outputs, None, bytes_of(tensor)))

    def all_gather_single(self, output: Any, tensor: Any, opts: Any = None) -> Any:
        if output.numel() != tensor.numel() * self._size:
            raise RuntimeError("All tensor operands to scatter/gather must have the same number of elements")
        parts = list(output.view(-1).chunk(self._size)) if output.numel() else [output] * self._size
        return self._start("allgather", Data([tensor], [parts], None, bytes_of(tensor)))

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
            return self._start("allreduce", Data(tensors, tensors, op, bytes_of(tensors[0]), 1))
        return self._start("allreduce", whole(tensors, op))

    def allreduce_coalesced(self, tensors: Any, opts: Any = None) -> Any:
        return self._start("allreduce", whole(tensors, operator_of(opts, tensors[0])))

    def broadcast(self, tensors: Any, opts: Any = None) -> Any:
        root = self._root("broadcast", opts.rootRank)
        return self._start("broadcast", whole(tensors), root)

    def gather(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
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

    def scatter(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
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
        root = self._root("reduce", opts.rootRank)
        return self._start("reduce", whole(tensors, operator_of(opts, tensors[0])), root)

    def reduce_scatter(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        op = operator_of(opts, outputs[0])
        length = sum(map(bytes_of, inputs[0]))
        return self._start("reduce_scatter", Data(inputs, outputs, op, length, outputs[0].element_size()))

    def reduce_scatter_single(self, output: Any, tensor: Any, opts: Any = None) -> Any:
        if output.numel() * self._size != tensor.numel():
            raise RuntimeError("All tensor operands to scatter/gather must have the same number of elements")
        parts = (
            list(tensor.contiguous().view(-1).chunk(self._size)) if tensor.numel() else [tensor] * self._size
        )
        return self.reduce_scatter([output], [parts], opts)

    _reduce_scatter_base = reduce_scatter_single

    def reduce_scatter_single_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        pairs = zip(outputs, inputs, strict=True)
        return SeveralWorks([self.reduce_scatter_single(*pair, opts) for pair in pairs])

    reduce_scatter_tensor_coalesced = reduce_scatter_single_coalesced

    def alltoall(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        length = max(map(bytes_of, inputs), default=0)
        return self._start("alltoall", Data([inputs], [outputs], None, length))

    def all_to_all_single(
        self, output: Any, tensor: Any, output_splits: Any = None, input_splits: Any = None, opts: Any = None
    ) -> Any:
        ins = split(tensor, input_splits, self._size)
        outs = split(output, output_splits, self._size)
        # with splits the lengths differ by design; what does not fit is seen when it is moved
        length = bytes_of(ins[0]) if not input_splits and not output_splits else 0
        return self._start("alltoall", Data([ins], [outs], None, length))

    alltoall_base = all_to_all_single

    def barrier(self, opts: Any = None) -> Any:
        return self._start("barrier", Data([], []))

    def monitored_barrier(self, timeout: Any = None, wait_all_ranks: bool = False) -> None:
        own = timeout is not None and timeout > NO_TIMEOUT and self._member == 0
        work = self._start(
            "monitored_barrier", Data([], []), timeout_ns=nanoseconds(timeout) if own else self._timeout_ns
        )
        try:
            work.wait()
        except RuntimeError as error:
            if self._member == 0:
                raise RuntimeError(self._who_failed(work._op, wait_all_ranks, error)) from error
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

    def _between(self, kind: str, tensors: Any, peer: int, tag: int) -> SimulatedWork:
        if len(tensors) != 1:
            raise RuntimeError(f"ProcessGroupGloo::{kind} takes a single tensor")
        if tag < 0:
            raise RuntimeError("Tag must be nonnegative")
        tensor = tensors[0]
        if not tensor.is_contiguous():
            raise RuntimeError("input tensor has to be contiguous")
        task = required_task()
        task.scheduler.pause((kind, self._shared, peer, tag))
        data = Data(tensors, tensors, None, bytes_of(tensor))
        op = Operation(self._rank, self._shared, kind, self._member, peer, data, 0, tag)
        op.timeout_ns = self._timeout_ns
        return SimulatedWork(op)

    def send(self, tensors: Any, peer: int, tag: int = 0) -> Any:
        work = self._between("send", tensors, peer, tag)
        self._shared.network.send(work._op)
        self._leave_if_dead(required_task())
        return work

    def recv(self, tensors: Any, peer: int, tag: int = 0) -> Any:
        work = self._between("recv", tensors, peer, tag)
        self._shared.network.receive(work._op)
        self._leave_if_dead(required_task())
        return work

    def recv_anysource(self, tensors: Any, tag: int = 0) -> Any:
        work = self._between("recv_anysource", tensors, -1, tag)
        self._shared.network.receive_any(work._op)
        self._leave_if_dead(required_task())
        return work


def _counting(method: Any) -> Any:
    @functools.wraps(method)
    def call(self: SimulatedGroup, *args: Any, **kwargs: Any) -> Any:
        self.entered += 1
        return method(self, *args, **kwargs)

    return call


for _name in collectives.COLLECTIVES:
    if _name in vars(SimulatedGroup):
        setattr(SimulatedGroup, _name, _counting(vars(SimulatedGroup)[_name]))
