"""Looks that a loop repeats until somebody else has done something: each of them lets the others go on.

A policy lets the running thread go on as long as it likes, and one that only looks would like that for ever.  So a look
is a place where another thread may go first, and after one that found nothing yet the others do: at an event, a future,
a thread, a lock that is held, a key that is not there.  The answer is what was found, not what came of the others.
Looks at files do so when there are many in a row, since most find what they look for.

Not covered: a loop that looks at a plain variable, which nobody can see; it ends at the run's deadline.
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import threading
from collections.abc import Callable
from typing import Any

import torch

from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.core.scheduler import current_task

__all__ = ["install"]


def install() -> None:
    """Once, in the host, before any rank runs."""
    replace(threading.Event, "is_set", lambda _: _event_is_set)
    threading.Event.isSet = threading.Event.is_set  # type: ignore[method-assign]
    replace(threading.Thread, "is_alive", lambda original: _until(original, False, "alive"))
    replace(concurrent.futures.Future, "done", lambda original: _until(original, True, "look"))
    replace(concurrent.futures.Future, "running", lambda original: _until(original, False, "look"))
    replace(torch._C.Future, "done", lambda original: _until(original, True, "look"))
    if hasattr(os, "sched_yield"):
        replace(os, "sched_yield", _yielding)
    for name in ("exists", "lexists", "isfile", "isdir"):
        replace(os.path, name, _counted)
    for name in ("exists", "is_file", "is_dir"):
        replace(pathlib.Path, name, _counted)
    for name in ("listdir", "scandir"):
        replace(os, name, _counted)


def _event_is_set(self: threading.Event) -> bool:
    flag: bool = self._flag  # type: ignore[attr-defined]
    task = current_task()
    if task is not None and task.rank.is_threaded:
        # whoever sets it takes this lock, so that both orders of the two are seen by a search
        task.scheduler.pause(("lock", self._cond._lock), is_look=True)  # type: ignore[attr-defined]
        flag = self._flag  # type: ignore[attr-defined]
        if not flag:
            task.scheduler.found_nothing()
    return flag


def _until(original: Callable[[Any], bool], wanted: bool, kind: str) -> Callable[[Any], bool]:
    def look(self: Any) -> bool:
        task = current_task()
        if task is None or not task.rank.is_threaded:
            return original(self)
        task.scheduler.pause((kind,), is_look=True)
        found = original(self)
        if found is not wanted:
            task.scheduler.found_nothing()
        return found

    look.__name__, look.__qualname__ = original.__name__, original.__qualname__
    look.__doc__ = original.__doc__
    return look


def _yielding(original: Callable[[], None]) -> Callable[[], None]:
    def sched_yield() -> None:
        task = current_task()
        if task is None:
            original()
        else:
            task.scheduler.sleep(0)

    return sched_yield


def _counted(original: Callable[..., Any]) -> Callable[..., Any]:
    def look(*args: Any, **kwargs: Any) -> Any:
        task = current_task()
        if task is not None:
            task.scheduler.poll()
        return original(*args, **kwargs)

    look.__name__ = getattr(original, "__name__", "look")
    look.__doc__ = original.__doc__
    return look
