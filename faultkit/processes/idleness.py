"""How long a rank only waited: the time in which it neither worked nor was kept from working.

Guarantees: on a slow or loaded machine it is too little rather than too much.  From the time that passed are taken the
processor time of the whole process and the time in which anything on the machine waited for a processor or for a disk
(``/proc/pressure``; where the system does not count that, the time for which this thread waited for a processor).

Not covered: how long one thread of several waited, and what a rank does on a GPU.
"""

from __future__ import annotations

import contextlib
import posix
import threading
import time
from collections.abc import Callable

import msgspec

__all__ = ["WAITED_SECONDS_MIN", "Sample", "idle_between", "of_process", "of_virtual_time"]

WAITED_SECONDS_MIN = 5.0  # less is not worth an event
_PRESSURE = ("cpu", "io")
_PRESSURE_SECONDS = (
    1.0  # for so long what was read serves where a run begins: reading costs more than most runs' hooks
)


class Sample(msgspec.Struct, frozen=True):
    """`at` and what was used up to then, all in seconds; `queued` is the time of being kept from working."""

    at: float
    worked: float
    queued: float


def idle_between(before: Sample, after: Sample) -> float:
    """The seconds between two samples in which the process only waited; never less than 0."""
    passed = after.at - before.at
    return max(0.0, passed - (after.worked - before.worked) - (after.queued - before.queued))


def of_process() -> Callable[[], float]:
    """Begin; gives the question for how many seconds this process has only waited since."""
    before = Sample(time.monotonic(), time.process_time(), _queued_at_most_a_second_ago())
    return lambda: (
        idle_between(before, _sample()) if time.monotonic() - before.at >= WAITED_SECONDS_MIN else 0.0
    )


def of_virtual_time() -> Callable[[], float]:
    """The same where time passes only while everybody waits."""
    began = time.monotonic()
    return lambda: time.monotonic() - began


def _sample() -> Sample:
    return Sample(time.monotonic(), time.process_time(), _queued())


_last_read = (
    float("-inf"),
    0.0,
    0,
)  # when, what, by which thread: where pressure is not counted, each has its own


def _queued_at_most_a_second_ago() -> float:
    """What was queued a moment ago: too little, so that more seems queued since, and less idle."""
    global _last_read
    now, thread = time.monotonic(), threading.get_native_id()
    if now - _last_read[0] > _PRESSURE_SECONDS or _last_read[2] != thread:
        _last_read = (now, _queued(), thread)
    return _last_read[1]


def _queued() -> float:
    total = 0
    with contextlib.suppress(OSError, ValueError):
        for name in _PRESSURE:
            some = _read(f"/proc/pressure/{name}").partition("\n")[0]
            total += int(some.rpartition("total=")[2])
        return total / 1e6
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(_read("/proc/thread-self/schedstat").split()[1]) / 1e9
    return 0.0


def _read(path: str) -> str:
    descriptor = posix.open(path, posix.O_RDONLY)  # past the file functions of `os`, which a plan may break
    try:
        return posix.read(descriptor, 4096).decode()
    finally:
        posix.close(descriptor)
