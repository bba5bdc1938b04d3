"""Tells the parent, through the rank's memory, how many Python threads besides the main one live, and act.

A rank whose main thread is blocked may still go on through another thread of its own, so the deadlock detector must
know of them.  A thread acts from its start to its end; a worker of a thread pool acts only while it has a
task.  Not covered: threads that are not made by `threading`, such as those of C++ libraries.
"""

from __future__ import annotations

import concurrent.futures.thread
import threading
from collections.abc import Callable
from typing import Any

from faultkit.processes.memory import RankMemory

__all__ = ["install", "of_python"]


def install(memory: RankMemory) -> None:
    """From now on, for the life of this process, its threads are counted in `memory`."""
    worker = concurrent.futures.thread._worker

    def active_of(thread: Any) -> int:
        return int(getattr(thread, "_target", None) is not worker)

    _count(threading.Thread, "_bootstrap_inner", memory, alive=1, active_of=active_of)
    _count(concurrent.futures.thread._WorkItem, "run", memory, alive=0, active_of=lambda _: 1)


def of_python() -> list[threading.Thread]:
    """The live threads that `threading` has made.

    A thread of C++ that has once called Python, as one of gloo's does for a callback, is none of these: nobody can
    join it, and it lives as long as its library likes.
    """
    return [thread for thread in threading.enumerate() if not isinstance(thread, threading._DummyThread)]


def _count(
    owner: type, name: str, memory: RankMemory, *, alive: int, active_of: Callable[[Any], int]
) -> None:
    original = getattr(owner, name)

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        active = active_of(self)  # a thread forgets its target at its end
        memory.count_threads(alive, active)
        try:
            return original(self, *args, **kwargs)
        finally:
            memory.count_threads(-alive, -active)

    setattr(owner, name, counted)
