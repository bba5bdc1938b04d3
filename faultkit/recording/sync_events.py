"""What orders the ranks and the threads of a run, recorded beside the file operations: collectives, threads.

Guarantees: a collective is recorded where `faultkit.hooks.collectives` sees it, which keeps nothing alive: "enter" when
it is issued, "leave" when its wait is over.  `number` counts per group and rank, so equal group and number are one
collective; of send and recv it counts per pair.  A thread's start is recorded before it runs, a join after it, and
between them what `faultkit.recording.sync_primitives` sees threads wait for.  Both end with the function that was
returned.  Not covered: communication issued from C++.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from faultkit.hooks import collectives
from faultkit.hooks.distributed_calls import BLOCKING, COLLECTIVE, MESSAGE, DistributedCall
from faultkit.interception.patches import Patches
from faultkit.recording import happens_before, sync_primitives
from faultkit.recording.store_events import StoreEvents

__all__ = ["watch_collectives", "watch_threads"]

Event = Callable[..., None]


def watch_threads(event: Event) -> Callable[[], None]:
    """Tell `event` of threads that start, join and wait, until the returned function is called."""
    Thread = threading.Thread
    start, join = Thread.start, Thread.join

    @functools.wraps(start)
    def started(self: Any) -> None:
        now = time.monotonic_ns()
        with happens_before.quietly():
            start(self)
        if self.native_id is not None:
            event("thread", phase="start", number=self.native_id, start_ns=now, end_ns=now)

    @functools.wraps(join)
    def join_seen(self: Any, *args: Any, **kwargs: Any) -> None:
        join(self, *args, **kwargs)
        number = self.native_id
        if not self.is_alive() and number is not None and number != threading.get_native_id():
            event("thread", phase="join", number=number)

    happens_before.listen(event)
    patches = Patches()
    for change in ((Thread, "start", started), (Thread, "join", join_seen), *sync_primitives.changes()):
        patches.set_attribute(*change)

    def stop() -> None:
        happens_before.listen(None)
        patches.undo()

    return stop


def watch_collectives(event: Event) -> Callable[[], None]:
    """Tell `event` of collectives, and of what is said through stores, until the returned function is called; of none
    where torch has no groups."""
    if "torch.distributed" not in sys.modules:
        return lambda: None
    import torch.distributed as dist

    if not dist.is_available():
        return lambda: None
    listeners = (_Collectives(event), StoreEvents(event))
    for listener in listeners:
        collectives.subscribe(listener)

    def stop() -> None:
        for listener in listeners:
            collectives.unsubscribe(listener)

    return stop


class _Collectives:
    """Its notes are the fields of a call's events."""

    kinds = frozenset({COLLECTIVE, MESSAGE, BLOCKING})

    def __init__(self, event: Event) -> None:
        self.event = event
        self.lock = threading.Lock()
        self.counts: dict[Any, int] = {}
        self.ranks: dict[str, list[int]] = {}
        self.rank_told = False

    def begins(self, call: DistributedCall, owner: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
        import torch.distributed as dist

        ranks = self.ranks.get(call.group)
        if ranks is None:
            try:
                ranks = list(dist.get_process_group_ranks(owner))
            except Exception:
                ranks = []
            self.ranks[call.group] = ranks
        if not self.rank_told and dist.is_initialized():
            self.rank_told = True
            self.event("rank", number=dist.get_rank())
        root = ranks[call.peer] if 0 <= call.peer < len(ranks) else call.peer
        key = (call.group, call.name, root) if call.kind == MESSAGE else call.group
        with self.lock:
            number = self.counts.get(key, 0)
            self.counts[key] = number + 1
        fields = {"name": call.name, "number": number, "group": ranks, "root": root}
        self.event("collective", phase="enter", **fields)
        return fields

    def ends(self, call: DistributedCall, fields: dict[str, Any], is_ok: bool) -> None:
        if call.kind == BLOCKING:
            self.waited(call, fields, is_ok)

    def waits(self, call: DistributedCall, fields: dict[str, Any]) -> None:
        pass

    def waited(self, call: DistributedCall, fields: dict[str, Any], is_ok: bool) -> None:
        if is_ok:
            self.event("collective", phase="leave", **fields)
