"""`signal.alarm` and `setitimer` of simulated ranks: one timer of real time for each rank, on the simulated clock.

Guarantees: SIGALRM does to the rank what it does to a process: its handler runs on its main thread, also while that
sleeps or waits for a lock, or the rank ends.  A timer ends with the function that set it, so no other run hears of it.
Not covered: timers of processor time (`ITIMER_VIRTUAL`, `ITIMER_PROF`), which are remembered and never ring.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from typing import Any

from faultkit.worlds.simulated import injection_adapter
from faultkit.worlds.simulated.core.ranks import Rank
from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.core.scheduler import current_task

__all__ = ["install"]

NANOSECONDS = 1_000_000_000
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def install() -> None:
    """Once, in the host."""
    replace(signal, "setitimer", _setting)
    replace(signal, "getitimer", _getting)
    replace(signal, "alarm", _alarming)


class _Timer:
    """What the scheduler calls when the time has come; `is_live` as long as it is the one of its rank."""

    def __init__(self, rank: Rank, which: int, seconds: float, interval: float) -> None:
        self._rank, self._which = rank, which
        self._interval_ns = int(interval * NANOSECONDS)
        self._due_ns = 0
        self._wind(int(seconds * NANOSECONDS))

    @property
    def is_live(self) -> bool:
        return self._rank.timers.get(self._which) is self and self._rank.state == "running"

    def _wind(self, duration_ns: int) -> None:
        scheduler = self._rank.scheduler
        self._due_ns = scheduler.now_ns + duration_ns
        self._rank.timers[self._which] = self
        if self._which == signal.ITIMER_REAL:
            scheduler.add_timer(self._due_ns, self)

    def __call__(self) -> None:
        if not self.is_live:
            return
        if self._interval_ns:
            self._wind(self._interval_ns)
        else:
            del self._rank.timers[self._which]
        injection_adapter.send_signal(self._rank, signal.SIGALRM)

    def left(self) -> tuple[float, float]:
        """The seconds until it rings, and from then to the next time."""
        left_ns = max(1_000, self._due_ns - self._rank.scheduler.now_ns)
        return left_ns / NANOSECONDS, self._interval_ns / NANOSECONDS


def _left(rank: Rank, which: int) -> tuple[float, float]:
    timer: Any = rank.timers.get(which)
    return timer.left() if timer is not None else (0.0, 0.0)


def _set(rank: Rank, which: int, seconds: float, interval: float) -> tuple[float, float]:
    before = _left(rank, which)
    if seconds:
        _Timer(rank, which, seconds, interval)
    else:
        rank.timers.pop(which, None)
    return before


def _setting(original: Callable[..., Any]) -> Callable[..., Any]:
    def setitimer(which: int, seconds: float, interval: float = 0.0, /) -> Any:
        task = current_task()
        if task is None or which not in _TIMERS:
            return original(which, seconds, interval)
        if seconds < 0 or interval < 0:
            raise signal.ItimerError(22, "Invalid argument")
        return _set(task.rank, which, seconds, interval)

    return setitimer


def _getting(original: Callable[[int], Any]) -> Callable[[int], Any]:
    def getitimer(which: int, /) -> Any:
        task = current_task()
        return original(which) if task is None or which not in _TIMERS else _left(task.rank, which)

    return getitimer


def _alarming(original: Callable[[int], int]) -> Callable[[int], int]:
    def alarm(seconds: int, /) -> int:
        task = current_task()
        if task is None:
            return original(seconds)
        return math.ceil(_set(task.rank, signal.ITIMER_REAL, seconds, 0)[0])

    return alarm
