"""Counts, on a rank, what each collective of the engine sends and what it costs.

Measured: how often each collective is called in which step of the engine, the bytes of the tensors that it is
handed, and the CPU time of the calling thread in the engine's own part of it (pickling, copying, building
exceptions), without what happens inside the process group.

Worked out from that: messages and bytes on the wire, by the algorithms of gloo (gather and scatter straight
between root and members, broadcast along a binomial tree, allgather and allreduce around a ring in two halves,
barrier by dissemination), as in gloo/*.cc of torch 2.13.

Not covered: collectives on threads that the engine starts, and point to point messages.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from faultkit.hooks import collectives
from faultkit.hooks.distributed_calls import COLLECTIVE, OPERATION, STEP, DistributedCall

__all__ = ["Meter", "measured", "traffic"]

WORK = "work"  # what a step does besides its collectives
_local = threading.local()


class Meter:
    """What one rank did: `counts` by label, "step: operation", each a list as in `COLUMNS`.

    The three methods are told of a call that begins; each gives what is to be done with the CPU seconds that it
    took, or None where it is part of another call.
    """

    COLUMNS = ("calls", "messages sent", "bytes sent", "bytes received", "CPU seconds")

    def __init__(self) -> None:
        self.counts: dict[str, list[float]] = {}
        self.step = ""
        self.operation = ""
        self.is_in_group = False
        self.transport_seconds = 0.0  # inside the process group, in the operation that goes on
        self.inner_seconds = 0.0  # inside operations, in the step that goes on

    def row(self, label: str) -> list[float]:
        return self.counts.setdefault(label, [0, 0, 0, 0, 0.0])

    @property
    def label(self) -> str:
        return ": ".join(filter(None, (self.step, self.operation)))

    def begin_step(self, call: DistributedCall, *_: Any) -> Callable[[float], None] | None:
        if self.step:
            return None
        self.step, self.inner_seconds = call.name, 0.0

        def end(seconds: float) -> None:
            row = self.row(f"{call.name}: {WORK}")
            row[0] += 1
            row[4] += seconds - self.inner_seconds
            self.step = ""

        return end

    def begin_operation(self, call: DistributedCall, *_: Any) -> Callable[[float], None] | None:
        if self.operation:
            return None
        self.operation, self.transport_seconds = call.name, 0.0

        def end(seconds: float) -> None:
            self.row(self.label)[4] += seconds - self.transport_seconds
            self.inner_seconds += seconds
            self.operation = ""

        return end

    def begin_in_group(
        self, call: DistributedCall, group: Any, arguments: tuple[Any, ...]
    ) -> Callable[[float], None] | None:
        if self.is_in_group or call.name.endswith("_coalesced"):  # which is seen by its parts
            return None
        row = self.row(self.label or call.name)
        item_bytes = _item_bytes(call.name, arguments)
        sent = traffic(call.name, group.size(), item_bytes, group.rank(), call.peer)
        for place, number in enumerate((1, *sent)):
            row[place] += number
        self.is_in_group = True

        def end(seconds: float) -> None:
            self.is_in_group = False
            self.transport_seconds += seconds

        return end


class _Meters:
    """Hands what is told of a thread to its meter, where it has one."""

    kinds = frozenset({COLLECTIVE, OPERATION, STEP})

    def __init__(self) -> None:
        self.count = 0

    def begins(self, call: DistributedCall, owner: Any, arguments: tuple[Any, ...]) -> Any:
        meter: Meter | None = getattr(_local, "meter", None)
        if meter is None:
            return None
        begin = {STEP: meter.begin_step, OPERATION: meter.begin_operation, COLLECTIVE: meter.begin_in_group}
        end = begin[call.kind](call, owner, arguments)
        return end and (end, time.thread_time())

    def ends(self, call: DistributedCall, note: Any, is_ok: bool) -> None:
        if note is not None:
            end, began = note
            end(time.thread_time() - began)

    def waits(self, call: DistributedCall, note: Any) -> None:
        pass

    def waited(self, call: DistributedCall, note: Any, is_ok: bool) -> None:
        pass


_meters = _Meters()


@contextlib.contextmanager
def _metered(meter: Meter) -> Iterator[None]:
    """Meanwhile `meter` is told of what this thread does; ranks that are threads of one process share a listener."""
    import torch.distributed as dist

    collectives.watch_class(type(dist.distributed_c10d._get_default_group()))
    if not _meters.count:
        collectives.subscribe(_meters)
    _meters.count += 1
    _local.meter = meter
    try:
        yield
    finally:
        _local.meter = None
        _meters.count -= 1
        if not _meters.count:
            collectives.unsubscribe(_meters)


def measured(function: Callable[..., Any], **keywords: Any) -> dict[str, Any]:
    """Run ``function(**keywords)`` on this rank under a meter: what was counted, and how it ended, as plain values."""
    meter = Meter()
    ended = ""
    with _metered(meter):
        began = time.thread_time()
        try:
            function(**keywords)
        except SystemExit:
            raise
        except BaseException as error:  # the engine's own exception is none of the ordinary ones
            ended = type(error).__name__
        seconds = time.thread_time() - began
    return {"counts": meter.counts, "ended": ended, "seconds": seconds}


def traffic(kind: str, size: int, item_bytes: int, rank: int, root: int) -> tuple[int, int, int]:
    """(messages sent, bytes sent, bytes received) of one member of a group of `size` in one call.

    `item_bytes` is what the member contributes; for a scatter, what each member gets.  `root` is -1 where
    there is none.
    """
    others = size - 1
    if others < 1:
        return 0, 0, 0
    is_root = rank == root
    if kind == "gather":
        return (0, 0, others * item_bytes) if is_root else (1, item_bytes, 0)
    if kind == "scatter":
        return (others, others * item_bytes, 0) if is_root else (0, 0, item_bytes)
    if kind == "broadcast":
        children = _children((rank - root) % size, size)
        return children, children * item_bytes, 0 if is_root else item_bytes
    if kind == "barrier":
        return others.bit_length(), 0, 0
    if kind in ("allgather", "_allgather_base", "all_gather_single"):
        return 2 * others, others * item_bytes, others * item_bytes
    if kind == "allreduce":
        moved = 2 * others * item_bytes // size
        return 4 * others, moved, moved
    if kind == "reduce":
        moved = others * item_bytes // size + (0 if is_root else item_bytes // size)
        return 2 * others, moved, moved
    moved = others * item_bytes // size  # to every member its part: alltoall, reduce_scatter
    return others, moved, moved


def _children(place: int, size: int) -> int:
    """How many members the one at `place` of a binomial tree sends to."""
    return sum(place + (1 << power) < size for power in range(place.bit_length(), size.bit_length()))


def _item_bytes(kind: str, args: tuple[Any, ...]) -> int:
    """What this member contributes; of a scatter, what it gets."""
    if kind == "barrier" or not args:
        return 0
    given = (
        args[1]
        if kind in ("allgather", "gather", "alltoall", "_allgather_base", "all_gather_single")
        else args[0]
    )
    while isinstance(given, list | tuple):
        given = given[0] if given else None
    return int(given.nbytes) if given is not None else 0
