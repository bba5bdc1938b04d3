"""The launcher of simulated ranks: once one has failed it ends the others, as `faultkit.runs.launcher` says.

The same in the same order as on processes, on the simulated clock: SIGTERM once nobody can go on or the grace is over,
with the handler of a rank that has one, then SIGKILL.  Not covered: a rank that computes for ever hears no signal; it
counts as ended when the run's real time is over.
"""

from __future__ import annotations

import signal
import time

from faultkit.runs.launcher import GRACE_SECONDS, LAUNCHER, NONE, TERMINATION_SECONDS
from faultkit.worlds.simulated import injection_adapter, wait_reasons
from faultkit.worlds.simulated.core.ranks import Rank
from faultkit.worlds.simulated.core.scheduler import NANOSECONDS, Scheduler

__all__ = ["end_peers", "keep"]


def keep(launcher: str, scheduler: Scheduler) -> None:
    """From the first failed rank on, the others have the grace."""
    if launcher != NONE:
        scheduler.grace_ns = int(GRACE_SECONDS * NANOSECONDS)


def end_peers(
    launcher: str, scheduler: Scheduler, ranks: list[Rank], is_over: bool, real_deadline: float
) -> bool:
    """End the ranks that are left where one has failed; whether the run is over, `is_over` where it ends none.

    Not to be called by a simulated thread.
    """
    left = [rank for rank in ranks if not rank.is_through and rank.state in ("running", "frozen")]
    if launcher == NONE or not left or not any(_has_failed(rank) for rank in ranks):
        return is_over
    texts = wait_reasons.texts_of(ranks)
    for rank in left:
        rank.ended = LAUNCHER, texts.get(rank.number, "")
    if not is_over:  # somebody has the turn and gives it to nobody
        for rank in left:
            rank.exit = signal.SIGKILL.name, None
        return False
    handling = [rank for rank in left if _handler(rank) is not signal.SIG_DFL]
    for rank in left:
        if rank not in handling:
            injection_adapter.bury(rank, signal.SIGTERM.name, None)
    for rank in handling:
        injection_adapter.send_signal(rank, signal.SIGTERM)
    scheduler.limit_ns = scheduler.now_ns + int(TERMINATION_SECONDS * NANOSECONDS)
    scheduler.grace_ns = None
    is_over = not handling or scheduler.go(real_deadline - time.monotonic())
    for rank in handling:
        if not rank.is_through:
            injection_adapter.bury(rank, signal.SIGKILL.name, None)
    scheduler.reached_limit = False
    return is_over


def _has_failed(rank: Rank) -> bool:
    return rank.state == "dead" and rank.exit not in (None, (None, 0))


def _handler(rank: Rank) -> object:
    return rank.signal_handlers.get(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
