"""The clock of simulated ranks is the scheduler's: `time.sleep`, `monotonic`, `perf_counter` and `time`.

A look at the clock costs a little time, so that a loop that waits for a time ends; time passes in no other way than
by what ranks do in the scheduler.  Left out: processor time (`time.process_time`, `thread_time`), which is real.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from faultkit.worlds.simulated.replacing import replace
from faultkit.worlds.simulated.scheduler import _get_ident, _tasks, current_task

__all__ = ["install"]

EPOCH_SECONDS = 1_000_000_000  # where `time.time` starts
NANOSECONDS = 1_000_000_000
READ_NS = 1_000  # what it costs to look at the clock, so that a loop that waits for a time ends
READS_MAX = 1_000  # in a row; then another thread goes first


def install() -> None:
    """Once, in the host."""
    for name in ("monotonic", "perf_counter", "time"):
        offset_ns = EPOCH_SECONDS * NANOSECONDS if name == "time" else 0
        replace(time, name, functools.partial(_clock, offset_ns=offset_ns, in_seconds=True))
        replace(time, f"{name}_ns", functools.partial(_clock, offset_ns=offset_ns, in_seconds=False))
    replace(time, "sleep", _sleeping)
    threading._time = queue.time = time.monotonic  # type: ignore[attr-defined]


def _clock(original: Callable[[], Any], *, offset_ns: int, in_seconds: bool) -> Callable[[], Any]:
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
