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
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Meter", "measured", "traffic"]

OPERATIONS = ("gather_object", "all_gather_object", "scatter_object", "broadcast_object", "barrier")
STEPS = ("reduce_scatter", "all_reduce", "all_gather", "broadcast")
WORK = "work"  # what a step does besides its collectives
GROUP_CALLS = (
    "_allgather_base",
    "_reduce_scatter_base",
    "all_gather_single",
    "all_to_all_single",
    "allgather",
    "allreduce",
    "alltoall",
    "alltoall_base",
    "barrier",
    "broadcast",
    "gather",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_single",
    "scatter",
)
_local = threading.local()


class Meter:
    """What one rank did: `counts` by label, "step: operation", each a list as in `COLUMNS`."""

    COLUMNS = ("calls", "messages sent", "bytes sent", "bytes received", "CPU seconds")

    def __init__(self) -> None:
        self.counts: dict[str, list[float]] = {}
        self.step = ""
        self.operation = ""
        self.transport_seconds = 0.0  # inside the process group, in the operation that goes on
        self.inner_seconds = 0.0  # inside operations, in the step that goes on

    def row(self, label: str) -> list[float]:
        return self.counts.setdefault(label, [0, 0, 0, 0, 0.0])

    @property
    def label(self) -> str:
        return ": ".join(filter(None, (self.step, self.operation)))


def measured(function: Callable[..., Any], **keywords: Any) -> dict[str, Any]:
    """Run ``function(**keywords)`` on this rank under a meter: what was counted, and how it ended, as plain values."""
    import torch.distributed as dist

    meter = Meter()
    _install(dist.distributed_c10d._get_default_group())
    _local.meter = meter
    began = time.thread_time()
    ended = ""
    try:
        function(**keywords)
    except SystemExit:
        raise
    except BaseException as error:  # the engine's own exception is none of the ordinary ones
        ended = type(error).__name__
    finally:
        _local.meter = None
    return {"counts": meter.counts, "ended": ended, "seconds": time.thread_time() - began}


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


def _install(group: Any) -> None:
    """Replace what is not replaced yet; without a meter, calls only pass through.

    What else replaces these methods for the time of a run takes ours away with its own, so this is looked at on
    every run.
    """
    from torch.distributed.checkpoint.utils import _DistWrapper

    for name in OPERATIONS:
        _replace(_DistWrapper, name, functools.partial(_operation, name))
    for name in STEPS:
        _replace(_DistWrapper, name, _step)
    for kind in type(group).__mro__:
        if any(one.__name__ == "ProcessGroup" for one in kind.__mro__):
            for name in GROUP_CALLS:
                _replace(kind, name, functools.partial(_group_call, name))


def _replace(kind: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = vars(kind).get(name)
    if original is not None and not hasattr(original, "__faultkit_meter__"):
        replacement = make(original)
        replacement.__faultkit_meter__ = True  # type: ignore[attr-defined]
        setattr(kind, name, replacement)


def _operation(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        meter: Meter | None = getattr(_local, "meter", None)
        if meter is None or meter.operation:
            return original(*args, **kwargs)
        meter.operation, meter.transport_seconds = name, 0.0
        began = time.thread_time()
        try:
            return original(*args, **kwargs)
        finally:
            seconds = time.thread_time() - began
            meter.row(meter.label)[4] += seconds - meter.transport_seconds
            meter.inner_seconds += seconds
            meter.operation = ""

    return call


def _step(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, step: str, *args: Any, **kwargs: Any) -> Any:
        meter: Meter | None = getattr(_local, "meter", None)
        if meter is None or meter.step:
            return original(self, step, *args, **kwargs)
        meter.step, meter.inner_seconds = step, 0.0
        began = time.thread_time()
        try:
            return original(self, step, *args, **kwargs)
        finally:
            row = meter.row(f"{step}: {WORK}")
            row[0] += 1
            row[4] += time.thread_time() - began - meter.inner_seconds
            meter.step = ""

    return call


def _group_call(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        meter: Meter | None = getattr(_local, "meter", None)
        if meter is None or getattr(_local, "within", False):
            return original(self, *args, **kwargs)
        row = meter.row(meter.label or kind)
        root = getattr(args[-1], "rootRank", -1) if args else -1
        item_bytes = _item_bytes(kind, args)
        sent = traffic(kind, self.size(), item_bytes, self.rank(), root)
        for place, number in enumerate((1, *sent)):
            row[place] += number
        with _within(meter):
            return original(self, *args, **kwargs)

    return call


@contextlib.contextmanager
def _within(meter: Meter) -> Iterator[None]:
    _local.within = True
    began = time.thread_time()
    try:
        yield
    finally:
        _local.within = False
        meter.transport_seconds += time.thread_time() - began


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
