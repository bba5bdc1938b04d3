"""Tells the parent, through the rank's memory, which communication call each thread is inside.

What is watched.  Every call of `torch.distributed` that reaches a process group from Python ends in a method
of the `ProcessGroup` class and, unless asynchronous, in `Work.wait`.  Both are replaced once per process, by
functions that write a few dozen bytes to shared memory and then call the original: about a microsecond each,
no system call, and nobody is woken.  A thread counts as blocked from the start of the wait to its end; a
collective counts as entered when it is issued.  The label says what the engine was doing: its operation and the step
of `torch.distributed.checkpoint`, taken from `_DistWrapper`, and the attempt.

What is not.  Communication issued from C++ (functional collectives in a compiled graph, a custom backend
that waits inside its own call) is invisible; a rank in it looks busy, and the deadline is what ends it.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any

from faultkit.hooks import gloo_threads
from faultkit.processes.memory import RankMemory

__all__ = ["attach", "install", "label_of_thread"]

COLLECTIVES = (
    "_allgather_base",
    "_reduce_scatter_base",
    "all_gather_single",
    "all_gather_single_coalesced",
    "all_to_all_single",
    "allgather",
    "allgather_coalesced",
    "allgather_into_tensor_coalesced",
    "allreduce",
    "allreduce_coalesced",
    "alltoall",
    "alltoall_base",
    "barrier",
    "broadcast",
    "gather",
    "gather_into_tensor",
    "gather_single",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_single",
    "reduce_scatter_single_coalesced",
    "reduce_scatter_tensor_coalesced",
    "scatter",
)
PENDING_COUNT_MAX = 4096

_memory: RankMemory | None = None
_known_groups: set[str] = set()
_group_names: dict[int, str] = {}
_pending: dict[
    int, tuple[Any, str, str, int, int]
] = {}  # id(work) -> its reference, kind, group, sequence, peer
_local = threading.local()


def label_of_thread() -> str:
    """What the engine is doing on the calling thread: operation, step and attempt; empty outside of the engine."""
    return getattr(_local, "label", "")


def attach(memory: RankMemory | None) -> None:
    """From now on calls are written to `memory`; None detaches."""
    global _memory
    _memory = memory
    _known_groups.clear()
    _pending.clear()


def install(attempt_of_thread: Callable[[], str]) -> None:
    """Replace the methods, once per process; without an attached memory they only pass through.

    `attempt_of_thread` names the attempt of the engine that the calling thread carries out, empty for none.
    """
    from torch._C._distributed_c10d import ProcessGroup, Store, Work
    from torch.distributed.checkpoint.utils import _DistWrapper

    if getattr(ProcessGroup.allreduce, "__faultkit__", False):
        return
    for name in COLLECTIVES:
        if hasattr(ProcessGroup, name):
            setattr(ProcessGroup, name, _collective(name, getattr(ProcessGroup, name)))
    for name in ("send", "recv", "recv_anysource"):
        setattr(ProcessGroup, name, _point_to_point(name, getattr(ProcessGroup, name)))
    ProcessGroup.monitored_barrier = _blocking("monitored_barrier", ProcessGroup.monitored_barrier)
    Work.wait = _wait(Work.wait)
    for name in ("get", "wait"):
        setattr(Store, name, _store(name, getattr(Store, name)))
    for name in ("gather_object", "all_gather_object", "scatter_object", "broadcast_object", "barrier"):
        setattr(_DistWrapper, name, _operation(name, getattr(_DistWrapper, name), attempt_of_thread))
    for name in ("reduce_scatter", "all_reduce", "all_gather", "broadcast"):
        setattr(_DistWrapper, name, _step(getattr(_DistWrapper, name)))
    gloo_threads.install()


def _mark(function: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    functools.update_wrapper(function, original)
    function.__faultkit__ = True  # type: ignore[attr-defined]
    return function


def _group(memory: RankMemory, group: Any) -> str:
    name = group.group_name
    if name not in _known_groups:
        _known_groups.add(name)
        try:
            import torch.distributed as dist

            ranks = dist.get_process_group_ranks(group)
        except Exception:
            ranks = []
        memory.append("group", {"name": name, "ranks": ranks})
    return name


def _remember(work: Any, kind: str, name: str, sequence: int, peer: int) -> None:
    """By a weak reference: a work that nobody keeps takes a message with it that has not left yet."""
    if work is None:
        return
    if len(_pending) >= PENDING_COUNT_MAX:
        for key, entry in list(_pending.items()):
            known = entry[0]()
            if known is None or known.is_completed():
                _pending.pop(key, None)
    _pending[id(work)] = (weakref.ref(work), kind, name, sequence, peer)


def _collective(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        memory = _memory
        if memory is None:
            return original(self, *args, **kwargs)
        name = _group(memory, self)
        sequence = memory.count(name, entered=1)
        root = getattr(args[-1], "rootRank", -1) if args else -1
        native_id = threading.get_native_id()
        # issuing may block too (connections are made on first use), so the thread counts as inside from here
        memory.thread_enters(native_id, kind, name, getattr(_local, "label", ""), sequence, root)
        try:
            work = original(self, *args, **kwargs)
        finally:
            memory.thread_leaves(native_id)
        _remember(work, kind, name, sequence, root)
        return work

    return _mark(call, original)


def _point_to_point(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, tensors: Any, *args: Any, **kwargs: Any) -> Any:
        memory = _memory
        if memory is None:
            return original(self, tensors, *args, **kwargs)
        name = _group(memory, self)
        peer = (
            -1
            if kind == "recv_anysource"
            else int(args[0] if args else kwargs.get("dst", kwargs.get("src", -1)))
        )
        memory.count(name, **({"sent": 1} if kind == "send" else {"received": 1}))
        work = original(self, tensors, *args, **kwargs)
        _remember(work, kind, name, 0, peer)
        return work

    return _mark(call, original)


def _blocking(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        memory = _memory
        if memory is None:
            return original(self, *args, **kwargs)
        name = _group(memory, self)
        sequence = memory.count(name, entered=1)
        native_id = threading.get_native_id()
        memory.thread_enters(native_id, kind, name, getattr(_local, "label", ""), sequence, -1)
        try:
            result = original(self, *args, **kwargs)
            memory.count(name, left=1)
            return result
        finally:
            memory.thread_leaves(native_id)

    return _mark(call, original)


def _wait(original: Callable[..., Any]) -> Callable[..., Any]:
    def wait(self: Any, *args: Any, **kwargs: Any) -> Any:
        memory = _memory
        entry = _pending.pop(id(self), None) if memory is not None else None
        if memory is None or entry is None or entry[0]() is not self:
            return original(self, *args, **kwargs)
        _, kind, name, sequence, peer = entry
        native_id = threading.get_native_id()
        memory.thread_enters(native_id, kind, name, getattr(_local, "label", ""), sequence, peer)
        try:
            result = original(self, *args, **kwargs)
            if sequence:
                memory.count(name, left=1)
            return result
        finally:
            memory.thread_leaves(native_id)

    return _mark(wait, original)


def _store(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        memory = _memory
        if memory is None:
            return original(self, *args, **kwargs)
        native_id = threading.get_native_id()
        memory.thread_enters(native_id, f"store.{kind}", "", getattr(_local, "label", ""), 0, -1)
        try:
            return original(self, *args, **kwargs)
        finally:
            memory.thread_leaves(native_id)

    return _mark(call, original)


def _operation(
    name: str, original: Callable[..., Any], attempt_of_thread: Callable[[], str]
) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _memory is None:
            return original(self, *args, **kwargs)
        _local.label = f"{name}|{getattr(_local, 'step', '')}|{attempt_of_thread()}"
        try:
            return original(self, *args, **kwargs)
        finally:
            _local.label = ""

    return _mark(call, original)


def _step(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, step: str, *args: Any, **kwargs: Any) -> Any:
        before = getattr(_local, "step", "")
        _local.step = step
        try:
            return original(self, step, *args, **kwargs)
        finally:
            _local.step = before

    return _mark(call, original)
