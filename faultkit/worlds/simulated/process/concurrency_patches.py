"""Replaces what would wait, for simulated threads only: locks, threads, imports and futures.

Done once, in the host, which does nothing else for the rest of its life; every replacement falls back to the
original on a thread that is not simulated.  The standard library builds on few things: locks are made by
`threading.Lock` and `RLock`, threads started by ``_start_new_thread``; conditions, events, queues, executors and
futures are Python code on top of them.  The clock, signals and output have modules of their own.

Not covered: waits in C (sockets, `select`, subprocesses, `multiprocessing`): nothing else runs meanwhile, and no
simulated time passes.
"""

from __future__ import annotations

import _thread
import concurrent.futures.thread
import functools
import importlib._bootstrap
import queue
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import torch

from faultkit.worlds.simulated.core import clocks, poll_detection
from faultkit.worlds.simulated.core.primitives import SimulatedLock, SimulatedRLock
from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.core.scheduler import current_task
from faultkit.worlds.simulated.process import module_locks, output, signals

__all__ = ["Handle", "install"]


def install() -> None:
    """Once, in the host, before any rank runs."""
    replace(threading, "RLock", lambda original: _making(original, SimulatedRLock))
    replace(threading, "Lock", lambda original: _making(original, SimulatedLock))
    # since Python 3.13 it is another function
    if isinstance(_thread.allocate_lock, types.BuiltinFunctionType):
        replace(_thread, "allocate_lock", lambda original: _making(original, SimulatedLock))
    replace(_thread, "RLock", lambda original: _making(original, SimulatedRLock))
    threading._allocate_lock = threading.Lock  # type: ignore[attr-defined]
    _replace_starting(threading)
    replace(_thread, "start_new_thread", _starting)
    simple: Any = queue._PySimpleQueue  # type: ignore[attr-defined]
    replace(queue, "SimpleQueue", lambda original: _making(original, simple))
    pools: Any = concurrent.futures.thread
    pools._global_shutdown_lock = SimulatedLock()
    bootstrap: Any = importlib._bootstrap
    bootstrap._find_and_load = _importing(bootstrap._find_and_load)
    functools.cached_property.__get__ = _get_cached  # type: ignore[method-assign]
    torch._C.Future.wait = _waiting(torch._C.Future.wait, torch._C.Future.done)
    poll_detection.install()
    clocks.install()
    output.install()
    signals.install()


def _making(original: Callable[..., Any], simulated: Callable[[], Any]) -> Callable[..., Any]:
    def make(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs) if current_task() is None else simulated()

    return make


def _replace_starting(module: Any) -> None:
    """Threads are started, and waited for, by other means from Python 3.13 on."""
    if hasattr(module, "_start_joinable_thread"):
        module._start_joinable_thread = _starting_joinable(module._start_joinable_thread)
    else:
        module._start_new_thread = _starting(module._start_new_thread)
        module._set_sentinel = _making(module._set_sentinel, SimulatedLock)


class Handle:
    """What `threading.Thread` waits for from Python 3.13 on; in a forked child, `threading` asks it for `ident`."""

    def __init__(self, ident: int | None = None) -> None:
        self.ident = ident
        self._running = SimulatedLock()
        self._running.acquire()

    def is_done(self) -> bool:
        return not self._running.locked()

    def join(self, timeout: float | None = None) -> None:
        if self._running.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            self._running.release()

    def _set_done(self) -> None:
        if self._running.locked():
            self._running.release()


def _starting_joinable(original: Callable[..., Any]) -> Callable[..., Any]:
    def start(function: Callable[..., Any], *, handle: Any = None, daemon: bool = True) -> Any:
        thread = getattr(function, "__self__", None)
        if current_task() is None or not isinstance(thread, threading.Thread):
            return original(function, handle=handle, daemon=daemon)
        own = Handle()
        thread._handle = own  # type: ignore[attr-defined]

        def body() -> None:
            own.ident = threading.get_ident()
            try:
                function()
            finally:
                _about_to_end()
                own._set_done()

        _spawn(thread, body)
        return own

    return start


def _spawn(thread: threading.Thread | None, body: Callable[[], None]) -> int:
    """Start a task for `body` on the calling task's rank; its number."""
    parent = current_task()
    assert parent is not None
    rank = parent.rank
    rank.is_threaded = True

    task = parent.scheduler.spawn(rank, body, thread.name if thread is not None else "thread")
    task.thread = thread
    parent.scheduler.pause(("start", task.number))
    return task.number


def _about_to_end() -> None:
    """A place where others go first: who looks whether this thread is alive sees it before its end, or after."""
    task = current_task()
    if task is not None:
        task.scheduler.pause(("over", task.number))


def _starting(original: Callable[..., Any]) -> Callable[..., Any]:
    def start(
        function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> Any:
        if current_task() is None:
            return original(function, args, kwargs or {})
        thread = getattr(function, "__self__", None)
        thread = thread if isinstance(thread, threading.Thread) else None

        def body() -> None:
            try:
                function(*args, **(kwargs or {}))
            finally:
                _about_to_end()
                lock = getattr(thread, "_tstate_lock", None)
                if isinstance(lock, SimulatedLock) and lock.locked():
                    lock.release()  # as the interpreter does it where a thread ends: `join` waits for that

        return _spawn(thread, body)

    return start


def _importing(original: Callable[..., Any]) -> Callable[..., Any]:
    def find_and_load(*args: Any) -> Any:
        task = current_task()
        if task is None:
            return original(*args)
        known = len(sys.modules)
        task.imports += 1
        try:
            return original(*args)
        finally:
            task.imports -= 1
            if not task.imports:
                module_locks.divide(list(sys.modules.values())[known:])

    return find_and_load


def _get_cached(self: Any, instance: Any, owner: Any = None) -> Any:
    """`functools.cached_property` without the one lock that all instances of a class share up to Python 3.11."""
    if instance is None:
        return self
    if self.attrname is None:
        raise TypeError("Cannot use cached_property instance without calling __set_name__ on it.")
    values = instance.__dict__
    if self.attrname not in values:
        values[self.attrname] = self.func(instance)
    return values[self.attrname]


def _waiting(original: Callable[..., Any], is_done: Callable[[Any], bool]) -> Callable[..., Any]:
    def wait(self: Any) -> Any:
        task = current_task()
        if task is not None and not is_done(self):
            self.add_done_callback(lambda _: task.scheduler.wake(task))
            while not is_done(self):
                task.scheduler.block(("future",))
        return original(self)

    return wait
