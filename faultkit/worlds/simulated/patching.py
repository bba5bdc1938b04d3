"""Replaces what would wait, tell the time or end the process, for simulated threads only.

Done once, in the host, which does nothing else for the rest of its life; every replacement falls back to the
original on a thread that is not simulated.  The standard library builds on few things: locks are made by
`threading.Lock` and `RLock`, threads started by ``_start_new_thread``; conditions, events, queues, executors and
futures are Python code on top of them.  Where a module has taken a clock or a lock by name, the name is replaced
there, too, unless the module is the standard library's or installed.

Left out: waits in C (sockets, `select`, subprocesses, `multiprocessing`): nothing else runs meanwhile, and no
simulated time passes.
"""

from __future__ import annotations

import concurrent.futures.thread
import functools
import importlib._bootstrap
import logging
import os
import queue
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from faultkit.worlds.simulated import polling
from faultkit.worlds.simulated.primitives import SimulatedLock, SimulatedRLock
from faultkit.worlds.simulated.scheduler import _get_ident, _tasks, current_task

__all__ = ["install"]

EPOCH_SECONDS = 1_000_000_000  # where `time.time` starts
NANOSECONDS = 1_000_000_000
READ_NS = 1_000  # what it costs to look at the clock, so that a loop that waits for a time ends
READS_MAX = 1_000  # in a row; then another thread goes first

_SYSTEM = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))


def install() -> None:
    """Once, in the host, before any rank runs."""
    replaced: dict[int, tuple[Any, Any]] = {}

    def replace(owner: Any, name: str, replacement: Any) -> None:
        original = getattr(owner, name)
        replaced[id(original)] = original, replacement
        setattr(owner, name, replacement)

    replace(threading, "RLock", _making(threading.RLock, SimulatedRLock))
    replace(threading, "Lock", _making(threading.Lock, SimulatedLock))
    threading._allocate_lock = threading.Lock  # type: ignore[attr-defined]
    _replace_starting(threading)
    replace(queue, "SimpleQueue", _making(queue.SimpleQueue, queue._PySimpleQueue))  # type: ignore[attr-defined]
    for name in ("monotonic", "perf_counter", "time"):
        offset_ns = EPOCH_SECONDS * NANOSECONDS if name == "time" else 0
        replace(time, name, _clock(getattr(time, name), offset_ns, in_seconds=True))
        replace(time, f"{name}_ns", _clock(getattr(time, f"{name}_ns"), offset_ns, in_seconds=False))
    replace(time, "sleep", _sleeping(time.sleep))
    threading._time = queue.time = time.monotonic  # type: ignore[attr-defined]
    pools: Any = concurrent.futures.thread
    pools._global_shutdown_lock = SimulatedLock()
    bootstrap: Any = importlib._bootstrap
    bootstrap._find_and_load = _importing(bootstrap._find_and_load)
    functools.cached_property.__get__ = _get_cached  # type: ignore[method-assign]
    torch._C.Future.wait = _waiting(torch._C.Future.wait, torch._C.Future.done)
    for name in ("stdout", "stderr"):
        replace(sys, name, _Router(getattr(sys, name)))
    _reroute_logging(replaced)
    polling.install(replace)
    os._exit = _ending(os._exit, lambda status: (None, int(status)))
    os.abort = _ending(os.abort, lambda: ("SIGABRT", None))
    os.kill = _killing(os.kill)
    signal.raise_signal = functools.partial(_raise_signal, signal.raise_signal)
    _sweep(replaced)


def _sweep(replaced: dict[int, tuple[Any, Any]]) -> None:
    """Replace what modules of the user's have imported by name."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or file.startswith(_SYSTEM) or name.startswith("faultkit."):
            continue
        for key, value in list(vars(module).items()):
            found = replaced.get(id(value))
            if found is not None and found[0] is value:
                setattr(module, key, found[1])


def _reroute_logging(replaced: dict[int, tuple[Any, Any]]) -> None:
    """Handlers that were made before write to the stream of whatever rank logs."""
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        handler = reference()
        if isinstance(getattr(type(handler), "stream", None), property):
            continue  # it asks for the stream each time
        found = replaced.get(id(getattr(handler, "stream", None)))
        if handler is not None and (found is not None or _is_standard(handler)):
            handler.stream = sys.stderr if found is None else found[1]


def _is_standard(handler: Any) -> bool:
    """Whether it writes to the standard error that the process had before its streams were opened anew."""
    stream = getattr(handler, "stream", None)
    return stream is not None and getattr(stream, "name", "") == "<stderr>"


def _making(original: Callable[..., Any], simulated: Callable[[], Any]) -> Callable[..., Any]:
    def make(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs) if current_task() is None else simulated()

    return make


def _clock(original: Callable[[], Any], offset_ns: int, *, in_seconds: bool) -> Callable[[], Any]:
    def read() -> Any:
        task = _tasks.get(_get_ident())
        if task is None:
            return original()
        scheduler = task.scheduler
        scheduler.now_ns += READ_NS
        scheduler.reads += 1
        if scheduler.reads > READS_MAX:
            scheduler.give_way(("clock",))
        now_ns = offset_ns + scheduler.now_ns
        return now_ns / NANOSECONDS if in_seconds else now_ns

    return read


def _sleeping(original: Callable[[float], None]) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        task = current_task()
        if task is None:
            original(seconds)
            return
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        task.scheduler.sleep(int(seconds * NANOSECONDS))

    return sleep


def _replace_starting(module: Any) -> None:
    """Threads are started, and waited for, by other means from Python 3.13 on."""
    if hasattr(module, "_start_joinable_thread"):
        module._start_joinable_thread = _starting_joinable(module._start_joinable_thread)
    else:
        module._start_new_thread = _starting(module._start_new_thread)
        module._set_sentinel = _making(module._set_sentinel, SimulatedLock)


class _Handle:
    """What `threading.Thread` waits for from Python 3.13 on."""

    def __init__(self) -> None:
        self.ident = None
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
        own = _Handle()
        thread._handle = own  # type: ignore[attr-defined]

        def body() -> None:
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

    def run() -> None:
        from faultkit.worlds.simulated.torch_state import register_groups

        register_groups(rank)
        body()

    task = parent.scheduler.spawn(rank, run, thread.name if thread is not None else "thread")
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
        task.imports += 1
        try:
            return original(*args)
        finally:
            task.imports -= 1

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


def _ending(
    original: Callable[..., Any], how: Callable[..., tuple[str | None, int | None]]
) -> Callable[..., Any]:
    def end(*args: Any) -> Any:
        task = current_task()
        if task is None:
            return original(*args)
        from faultkit.worlds.simulated.hooks import end_rank

        return end_rank(task.rank, *how(*args))

    return end


def _killing(original: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def kill(pid: int, number: int) -> None:
        if current_task() is None or pid != os.getpid():
            original(pid, number)
        elif number:
            _raise_signal(lambda n: original(pid, n), number)

    return kill


def _raise_signal(original: Callable[[int], None], number: int) -> None:
    task = current_task()
    if task is None:
        original(number)
        return
    from faultkit.worlds.simulated.hooks import signal_rank

    signal_rank(task.rank, int(number))


class _Router:
    """A text stream whose output is that of the rank that writes; any other thread's is the host's."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, original: Any) -> None:
        self._original = original

    def write(self, text: str) -> int:
        task = current_task()
        if task is None:
            return int(self._original.write(text))
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        task.rank.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if current_task() is None:
            self._original.flush()

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
