"""How long a load may take, on a machine that is busy: `Patience` counts its own time, `Turns` gives it a turn alone.

Guarantees: what a load waits for a core is none of its time: the kernel tells that of every thread (``schedstat``),
and of those of a process and all below it the one that waited longest counts, look by look.  So a load that sleeps,
or waits for what never comes, has its time as the clock has it, one that computes without end has its time on a
core, and one that hardly gets a core has longer, up to `FACTOR_MAX` times.  Whoever is over its time is tried once
more while nobody else who shares the `Turns` loads, and that is what counts.

Not covered: waiting for a disk, and for other processes than those below the load; where the kernel has no
``schedstat`` the clock alone counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator

__all__ = ["FACTOR_MAX", "LOOK_SECONDS_MAX", "Patience", "Turns"]

FACTOR_MAX = 6
LOOK_SECONDS_MAX = 0.25  # between two looks: of more than one thread in turn only the longest wait is seen
GATE, ROOM = 0, 1  # bytes of the file that are locked


class Patience:
    """`seconds` of the own time of process `pid` and all below it; without a `pid`, of all below this process."""

    def __init__(
        self,
        seconds: float,
        pid: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        waits_of: Callable[[int | None], dict[int, float]] | None = None,
    ) -> None:
        self.seconds = seconds
        self._pid = pid
        self._clock = clock
        self._waits_of = waits_of or _waits_below
        self._started = self._looked = clock()
        self._waits: dict[int, float] = {}
        self._starved = 0.0

    def left(self) -> float:
        """How many seconds of its time are left; 0 or less where it has had them.  To be asked now and then."""
        now = self._clock()
        wall = now - self._started
        if wall < self.seconds / 2:
            return self.seconds - wall  # most loads are over long before anybody needs to look
        if wall >= self.seconds * FACTOR_MAX:
            return 0.0
        waits = self._waits_of(self._pid)
        longest = max((wait - self._waits.get(thread, 0.0) for thread, wait in waits.items()), default=0.0)
        self._starved += min(now - self._looked, max(0.0, longest))
        self._waits, self._looked = waits, now
        return self.seconds - (wall - self._starved)


def _waits_below(pid: int | None) -> dict[int, float]:
    """Each thread of `pid` and of all below it with the seconds that it has waited for a core so far."""
    found: dict[int, float] = {}
    waiting = _children(os.getpid()) if pid is None else [pid]
    while waiting:
        process = waiting.pop()
        waiting += _children(process)
        for thread in _threads(process):
            told = _read(f"/proc/{process}/task/{thread}/schedstat")
            if len(told) > 1:
                found[thread] = told[1] / 1e9
    return found


def _threads(process: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{process}/task")]
    except OSError:
        return []


def _children(process: int) -> list[int]:
    return [pid for thread in _threads(process) for pid in _read(f"/proc/{process}/task/{thread}/children")]


def _read(path: str) -> list[int]:
    """The numbers in a file of the kernel; none where it is gone."""
    try:
        with open(path) as told:
            return [int(number) for number in told.read().split()]
    except OSError:
        return []


class Turns:
    """Who may load while others do, and who alone; between processes that have the file of `descriptor` open.

    Ends with the process that holds a turn.  Nobody holds one longer than a load may take.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @contextlib.contextmanager
    def beside_others(self) -> Iterator[None]:
        with self._locked(GATE, fcntl.LOCK_EX):
            self._lock(ROOM, fcntl.LOCK_SH)
        try:
            yield
        finally:
            self._lock(ROOM, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with (
            self._locked(GATE, fcntl.LOCK_EX),
            self._locked(ROOM, fcntl.LOCK_EX),
        ):  # nobody comes in meanwhile
            yield

    @contextlib.contextmanager
    def _locked(self, place: int, how: int) -> Iterator[None]:
        self._lock(place, how)
        try:
            yield
        finally:
            self._lock(place, fcntl.LOCK_UN)

    def _lock(self, place: int, how: int) -> None:
        fcntl.lockf(self._descriptor, how, 1, place)
