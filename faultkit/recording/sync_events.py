"""What orders the ranks and the threads of a run, recorded beside the file operations: collectives, threads.

Guarantees: a collective is recorded at the process group, where every call of `torch.distributed` from Python ends:
"enter" when it is issued, "leave" when its wait is over.  `number` counts per group and rank, so equal group and number
are one collective; of send and recv it counts per pair.  A thread's start is recorded before it runs, a join after it,
and between them what `faultkit.recording.sync_primitives` sees threads wait for.  Both end with the function that was
returned.  Not covered: communication issued from C++.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from faultkit.recording import happens_before, sync_primitives

__all__ = ["watch_collectives", "watch_threads"]

Event = Callable[..., None]
MESSAGES = ("send", "recv", "recv_anysource")


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
    undo = _set((Thread, "start", started), (Thread, "join", join_seen), *sync_primitives.changes())

    def stop() -> None:
        happens_before.listen(None)
        undo()

    return stop


def watch_collectives(event: Event) -> Callable[[], None]:
    """Tell `event` of collectives, until the returned function is called; of none where torch has no groups."""
    if "torch.distributed" not in sys.modules:
        return lambda: None
    import torch.distributed as dist

    if not dist.is_available():
        return lambda: None
    from torch._C._distributed_c10d import ProcessGroup, Work

    from faultkit.hooks.collectives import COLLECTIVES

    methods = [(ProcessGroup, name) for name in COLLECTIVES if hasattr(ProcessGroup, name)]
    methods += [(ProcessGroup, name) for name in (*MESSAGES, "monitored_barrier")]
    methods.append((Work, "wait"))
    originals = [getattr(owner, name) for owner, name in methods]
    if (
        _watch.originals != originals
    ):  # made once: to make two dozen functions takes longer than a save's calls
        _watch.originals = originals
        _watch.changes = [
            (owner, name, _watch.seen(name, original))
            for (owner, name), original in zip(methods, originals, strict=True)
        ]
    _watch.begin(event)
    return _set(*_watch.changes)


class _Watch:
    def __init__(self) -> None:
        self.originals: list[Any] = []
        self.changes: list[tuple[Any, str, Any]] = []
        self.lock = threading.Lock()
        self.begin(lambda *_, **__: None)

    def begin(self, event: Event) -> None:
        self.event = event
        self.counts: dict[Any, int] = {}
        self.ranks: dict[str, list[int]] = {}
        self.rank_told = False
        self.waited_for: dict[int, tuple[Any, dict[str, Any]]] = {}

    def seen(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        if name == "wait":
            return self.wait(original)
        if name == "monitored_barrier":
            return self.blocking(original)
        return (self.point_to_point if name in MESSAGES else self.collective)(name, original)

    def fields(self, group: Any, name: str, root: int, pair: bool = False) -> dict[str, Any]:
        import torch.distributed as dist

        label = group.group_name
        ranks = self.ranks.get(label)
        if ranks is None:
            try:
                ranks = list(dist.get_process_group_ranks(group))
            except Exception:
                ranks = []
            self.ranks[label] = ranks
        if not self.rank_told and dist.is_initialized():
            self.rank_told = True
            self.event("rank", number=dist.get_rank())
        root = ranks[root] if 0 <= root < len(ranks) else root
        key = (label, name, root) if pair else label
        with self.lock:
            number = self.counts.get(key, 0)
            self.counts[key] = number + 1
        return {"name": name, "number": number, "group": ranks, "root": root}

    def enter(self, fields: dict[str, Any]) -> None:
        self.event("collective", phase="enter", **fields)

    def leave_later(self, work: Any, fields: dict[str, Any]) -> None:
        if work is not None:
            self.waited_for[id(work)] = (work, fields)

    def collective(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(group: Any, *args: Any, **kwargs: Any) -> Any:
            options = [*args, *kwargs.values()]
            root = next((one.rootRank for one in reversed(options) if hasattr(one, "rootRank")), -1)
            fields = self.fields(group, name, root)
            self.enter(fields)
            work = original(group, *args, **kwargs)
            self.leave_later(work, fields)
            return work

        return call

    def point_to_point(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(group: Any, tensors: Any, *args: Any, **kwargs: Any) -> Any:
            anybody = name == "recv_anysource"
            peer = -1 if anybody else int(args[0] if args else kwargs.get("dst", kwargs.get("src", -1)))
            fields = self.fields(group, name, peer, pair=True)
            self.enter(fields)
            work = original(group, tensors, *args, **kwargs)
            self.leave_later(work, fields)
            return work

        return call

    def blocking(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(group: Any, *args: Any, **kwargs: Any) -> Any:
            fields = self.fields(group, "monitored_barrier", -1)
            self.enter(fields)
            result = original(group, *args, **kwargs)
            self.event("collective", phase="leave", **fields)
            return result

        return call

    def wait(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(work: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(work, *args, **kwargs)
            entry = self.waited_for.pop(id(work), None)
            if entry is not None:
                self.event("collective", phase="leave", **entry[1])
            return result

        return call


_watch = _Watch()


def _set(*changes: tuple[Any, str, Any]) -> Callable[[], None]:
    # what stands in the class itself, not what `getattr` makes of it: a method of C++ would lose its binding
    before = [(owner, name, vars(owner).get(name, _MISSING), value) for owner, name, value in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)

    def undo() -> None:
        for owner, name, original, value in reversed(before):
            if vars(owner).get(name) is not value:
                continue  # somebody has replaced it since; theirs stays
            if original is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, original)

    return undo


_MISSING = object()
