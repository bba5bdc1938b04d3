"""Keeps the host of simulated ranks on one processor while they run: exactly one of its threads ever does.

Left to the kernel, each thread that is given the turn is woken on whatever processor looks idle, where it finds cold
caches; with a few dozen turns in a save, a run takes a sixth longer.  The host stays where it was last as long as it
gets that processor for itself, and chooses anew, which is to say lets the kernel choose, after a run in which it had
to wait for it.

Not covered: what ranks start as processes inherits the one processor.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator
from typing import Any

__all__ = ["install", "kept"]

WAITED_PART_MAX = 0.1  # of a run, before the host looks for another processor

_library: Any = None
_all: set[int] = set()  # the processors that the host may use


def install() -> None:
    """Once, in the host."""
    global _all, _library
    _library, _all = ctypes.CDLL(None), os.sched_getaffinity(0)
    affinity = os.sched_getaffinity

    def allowed(pid: int) -> set[int]:
        """What it would say in a process of its own."""
        return set(_all) if pid in (0, os.getpid()) else affinity(pid)

    os.sched_getaffinity = allowed


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """All threads started meanwhile run on the processor where the caller is now."""
    began, began_cpu = time.monotonic(), time.process_time()
    with contextlib.suppress(OSError):  # it has been taken away from us since
        os.sched_setaffinity(0, {_library.sched_getcpu()})
    try:
        yield
    finally:
        seconds = time.monotonic() - began
        if seconds - (time.process_time() - began_cpu) > WAITED_PART_MAX * seconds:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, _all)
