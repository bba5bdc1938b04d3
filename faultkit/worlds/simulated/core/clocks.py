"""The clock of simulated ranks is the scheduler's: `time.sleep`, `monotonic`, `time` and the like.

A look at the clock costs a little time, so that a loop that waits for a time ends; time passes in no other way than by
what ranks do in the scheduler.  Not covered: `datetime`, which asks C for the real time and is a type that nobody can
change in its place, and processor time (`time.process_time`, `thread_time`).
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.core.scheduler import Task, current_task, get_ident, tasks_by_ident

__all__ = ["install"]

EPOCH_SECONDS = 1_000_000_000  # where `time.time` starts
NANOSECONDS = 1_000_000_000
READ_NS = 1_000  # what it costs to look at the clock, so that a loop that waits for a time ends
DATES = tuple(getattr(time, name) for name in ("CLOCK_REALTIME", "CLOCK_TAI") if hasattr(time, name))
INTERVALS = tuple(
    getattr(time, name)
    for name in ("CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW", "CLOCK_BOOTTIME")
    if hasattr(time, name)
)
READS_MAX = 1_000  # in a row; then another thread goes first


def install() -> None:
    """Once, in the host."""
    for name in ("monotonic", "perf_counter", "time"):
        is_date = name == "time"
        replace(time, name, functools.partial(_clock, is_date=is_date, in_seconds=True))
        replace(time, f"{name}_ns", functools.partial(_clock, is_date=is_date, in_seconds=False))
    replace(time, "clock_gettime", functools.partial(_chosen, in_seconds=True))
    replace(time, "clock_gettime_ns", functools.partial(_chosen, in_seconds=False))
    for name in ("ctime", "gmtime", "localtime"):
        replace(time, name, _of_seconds)
    replace(time, "asctime", functools.partial(_of_date, place=0))
    replace(time, "strftime", functools.partial(_of_date, place=1))
    replace(time, "sleep", _sleeping)
    threading._time = queue.time = time.monotonic  # type: ignore[attr-defined]


def _read_ns(task: Task, *, is_date: bool) -> int:
    scheduler = task.scheduler
    scheduler.now_ns += READ_NS
    scheduler.reads += 1
    if scheduler.reads > READS_MAX:
        scheduler.yield_turn(("clock",))
    return EPOCH_SECONDS * NANOSECONDS + scheduler.now_ns if is_date else scheduler.now_ns


def _clock(original: Callable[[], Any], *, is_date: bool, in_seconds: bool) -> Callable[[], Any]:
    def read() -> Any:
        task = tasks_by_ident.get(get_ident())
        if task is None:
            return original()
        now_ns = _read_ns(task, is_date=is_date)
        return now_ns / NANOSECONDS if in_seconds else now_ns

    return read


def _chosen(original: Callable[[int], Any], *, in_seconds: bool) -> Callable[[int], Any]:
    def read(clk_id: int, /) -> Any:
        task = current_task()
        is_date = clk_id in DATES
        if task is None or not (is_date or clk_id in INTERVALS):
            return original(clk_id)
        now_ns = _read_ns(task, is_date=is_date)
        return now_ns / NANOSECONDS if in_seconds else now_ns

    return read


def _of_seconds(original: Callable[..., Any]) -> Callable[..., Any]:
    def told(seconds: float | None = None, /) -> Any:
        return original(time.time() if seconds is None and current_task() is not None else seconds)

    return told


def _of_date(original: Callable[..., Any], *, place: int) -> Callable[..., Any]:
    """For a function that takes a date at this place, and where it is left out, that of now."""

    def told(*args: Any) -> Any:
        return original(
            *args, *([time.localtime()] if len(args) == place and current_task() is not None else ())
        )

    return told


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
