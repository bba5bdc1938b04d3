"""`RankContext`: what injection may ask of the rank in which a fault strikes; and the one that a process gives.

Guarantees: whoever gives a process its ranks says once, with `use`, how a rank there ends, hangs and keeps time; where
nobody does, the process is the rank.  Not covered: what an action does that is the same for every rank
(`faultkit.injection.perform`), and which session is whose (`faultkit.injection.session_by_rank`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["ProcessContext", "RankContext", "Timer", "context", "use", "write_no_core_file"]

DEATH_SECONDS_MAX = 5.0


class Timer(Protocol):
    """Something that is going to happen."""

    def cancel(self) -> None:
        """It does not happen any more, and no thread of it is left."""


class RankContext(Protocol):
    """How the rank that the calling thread is part of ends, stops and keeps time."""

    def exit(self, status: int) -> None:
        """End the rank with `status`, without a finally block, an exit handler or a flush."""

    def kill(self, number: signal.Signals, *, is_deadly: bool) -> None:
        """Send the rank a signal; where nothing handles it and it `is_deadly`, nothing happens on the rank after it."""

    def hang(self, *, is_native: bool, fault_text: str) -> None:
        """Have the calling thread wait for ever; `is_native` keeps the interpreter, so that every thread of it does."""

    def start_timer(self, seconds: float, ring: Callable[[], None]) -> Timer:
        """Call `ring` after so many seconds, on a thread of its own: the rank may be waiting in C++."""


class ProcessContext:
    """The rank is this process."""

    def exit(self, status: int) -> None:
        os._exit(status)

    def kill(self, number: signal.Signals, *, is_deadly: bool) -> None:
        write_no_core_file()
        os.kill(os.getpid(), number)
        if is_deadly and signal.getsignal(number) is signal.SIG_DFL:
            # The signal may be delivered to another thread; nothing after the point may happen meanwhile.
            time.sleep(DEATH_SECONDS_MAX)

    def hang(self, *, is_native: bool, fault_text: str) -> None:
        if is_native:
            # Not `pause`: a wait that a signal interrupts would come back to Python.  A mutex that its own
            # thread locks twice never does, and PyDLL keeps the interpreter lock during the call.
            library = ctypes.PyDLL(None)
            mutex = ctypes.create_string_buffer(256)
            library.pthread_mutex_init(mutex, None)
            while True:
                library.pthread_mutex_lock(mutex)
        forever = threading.Event()
        while True:
            forever.wait()

    def start_timer(self, seconds: float, ring: Callable[[], None]) -> Timer:
        return _ThreadTimer(seconds, ring)


class _ThreadTimer:
    def __init__(self, seconds: float, ring: Callable[[], None]) -> None:
        self._thread = threading.Timer(seconds, ring)
        self._thread.daemon = True
        self._thread.start()

    def cancel(self) -> None:
        self._thread.cancel()
        self._thread.join(timeout=1.0)  # a thread that is left would count against the rank


def write_no_core_file() -> None:
    """The death of this process leaves no core file."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


_context: RankContext = ProcessContext()


def context() -> RankContext:
    """That of the rank that the calling thread is part of."""
    return _context


def use(given: RankContext) -> None:
    """From now on, for the life of this process, `given` answers for its ranks."""
    global _context
    _context = given
