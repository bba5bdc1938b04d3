"""Locks of simulated threads: a wait for one is a wait in the scheduler, and costs no time.

`threading.Condition`, `Event`, `Semaphore`, `Barrier` and `queue.Queue` are Python code on top of the two locks
here, and so need nothing of their own.  A lock is free of charge while nobody waits for it.  Who gets it next is
whoever the scheduler lets run first, as with real locks.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from faultkit.worlds.simulated.core.scheduler import Scheduler, Task, allocate_lock, current_task

__all__ = ["SimulatedLock", "SimulatedRLock", "copy_of"]

NANOSECONDS = 1_000_000_000
POLL_SECONDS = 0.001

is_child = False  # set in a process that a rank has forked


class SimulatedLock:
    """Like what `threading.Lock` returns."""

    __slots__ = ("__weakref__", "_is_held", "_waiters", "label", "owner")

    def __init__(self) -> None:
        task = current_task()
        # those of the import system are numbered by nobody: the next run finds the module, and makes none
        self.label = task.scheduler.number_of_lock() if task is not None and not task.imports else 0
        self._is_held = False
        self._waiters: list[Task] = []
        self.owner: Task | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if timeout != -1:
            _require_timeout(blocking, timeout)
        task = current_task()
        if not blocking and self._is_held and task is not None and self.owner is task:
            task.scheduler.poll()  # a condition asks so whether its lock is held, which is no wait for anybody
            return False
        if task is not None and task.rank.is_threaded:
            task.scheduler.pause(("lock", self), is_look=not blocking)
        if not self._is_held:
            self._is_held, self.owner = True, task
            return True
        if not blocking:
            if task is not None:
                task.scheduler.found_nothing()
            return False
        return _wait_for(self, task, timeout)

    def release(self) -> None:
        if not self._is_held:
            raise RuntimeError("release unlocked lock")
        self._is_held, self.owner = False, None
        if self._waiters:
            for task in self._waiters:
                task.scheduler.wake(task)
            self._waiters.clear()

    def locked(self) -> bool:
        return self._is_held

    def _at_fork_reinit(self) -> None:
        self.__init__()  # type: ignore[misc]

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle '_thread.lock' object")


def copy_of(lock: Any) -> SimulatedLock:
    """A simulated lock that is held where `lock` is."""
    made = SimulatedLock()
    made._is_held = lock.locked()
    return made


def _require_timeout(blocking: bool, timeout: float) -> None:
    """Raise what a real lock raises for a timeout that it does not take: a free one is taken at once."""
    allocate_lock().acquire(blocking, timeout)


def _wait_for(lock: SimulatedLock, task: Task | None, timeout: float) -> bool:
    if task is None and is_child:
        return _wait_in_child(lock, timeout)
    if task is None:
        raise RuntimeError("a thread that is not simulated waits for a lock of a simulated rank")
    scheduler: Scheduler = task.scheduler
    if timeout is None or timeout < 0:
        deadline_ns = None
    else:
        deadline_ns = scheduler.now_ns + int(min(timeout, threading.TIMEOUT_MAX) * NANOSECONDS)
    while lock._is_held:
        if deadline_ns is not None and scheduler.now_ns >= deadline_ns:
            return False
        lock._waiters.append(task)
        try:
            is_woken = scheduler.block(("lock", lock), deadline_ns)
        finally:  # its time is over, or a handler of a signal has raised
            if task in lock._waiters:
                lock._waiters.remove(task)
        if not is_woken and lock._is_held:
            return False
    lock._is_held, lock.owner = True, task
    return True


def _wait_in_child(lock: SimulatedLock, timeout: float | None) -> bool:
    """In a forked process, where threads are real: two of them want what was a lock of the rank."""
    ends = None if timeout is None or timeout < 0 else time.monotonic() + timeout
    while lock._is_held:
        if ends is not None and time.monotonic() >= ends:
            return False
        time.sleep(POLL_SECONDS)
    lock._is_held = True
    return True


class SimulatedRLock:
    """Like what `threading.RLock` returns."""

    __slots__ = ("__weakref__", "_block", "_count", "_owner")

    def __init__(self) -> None:
        self._block = SimulatedLock()
        self._owner: Task | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if timeout != -1:
            _require_timeout(blocking, timeout)
        task = current_task()
        if self._count and self._owner is task:
            self._count += 1
            return True
        if self._block.acquire(blocking, timeout):
            self._owner, self._count = task, 1
            return True
        return False

    def release(self) -> None:
        if not self._count or self._owner is not current_task():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            self._block.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle '_thread.RLock' object")

    # what `threading.Condition` asks for

    def _is_owned(self) -> bool:
        return self._count > 0 and self._owner is current_task()

    def _release_save(self) -> tuple[int, Task | None]:
        if not self._count:
            raise RuntimeError("cannot release un-acquired lock")
        saved = self._count, self._owner
        self._count, self._owner = 0, None
        self._block.release()
        return saved

    def _acquire_restore(self, saved: tuple[int, Task | None]) -> None:
        self._block.acquire()
        self._count, self._owner = saved

    def _at_fork_reinit(self) -> None:
        self.__init__()  # type: ignore[misc]


# what `repr` and `type` show, and what a message about a lock that cannot be pickled says
SimulatedLock.__name__, SimulatedLock.__module__ = "lock", "_thread"
SimulatedRLock.__name__, SimulatedRLock.__module__ = "RLock", "_thread"
SimulatedLock.__qualname__, SimulatedRLock.__qualname__ = "lock", "RLock"
