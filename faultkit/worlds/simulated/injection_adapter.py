"""The injection of faults, told apart by rank: one set of hooks serves the sessions of all ranks of a run.

Every rank has a session of its own, and the hooks are given the one of whoever asks (`SessionByRank`).  The actions
that would end or stop a process do it to the rank, and timers are on its clock: that is the `RankContext` which
simulated ranks give to injection.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from typing import Any

from faultkit.hooks import collectives
from faultkit.injection import arming, perform, rank_context
from faultkit.injection.engine import hooks
from faultkit.injection.rank_context import Timer
from faultkit.injection.session import Session
from faultkit.injection.session_by_rank import SessionByRank
from faultkit.injection.session_parts.armed import activate, deactivate
from faultkit.interception.patches import Patches
from faultkit.plan import FaultPlan
from faultkit.worlds.simulated.core.ranks import Rank, current_rank
from faultkit.worlds.simulated.core.scheduler import NANOSECONDS, current_task, get_ident, tasks_by_ident
from faultkit.worlds.simulated.network.opened_stores import close_servers
from faultkit.worlds.simulated.network.process_group import SimulatedGroup

__all__ = ["Armed", "bury", "end_rank", "install", "send_signal", "signal_rank"]

SURVIVED = frozenset(
    getattr(signal, name) for name in ("SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH") if hasattr(signal, name)
)


def install() -> None:
    """Once, in the host."""
    hooks.keep_hooks()
    rank_context.use(_SimulatedRank())


def _session() -> Session | None:
    """The session of the rank that the calling thread is part of."""
    task = tasks_by_ident.get(get_ident())  # `current_rank`, without the call: this is asked all the time
    return None if task is None else task.rank.session


class Armed:
    """The plan is in force for all ranks from here to `disarm`."""

    def __init__(
        self,
        plan: FaultPlan,
        ranks: list[Rank],
        *,
        is_content_wanted: bool,
        place: str,
        watches: frozenset[str],
    ) -> None:
        for fault in plan:
            perform.prepare(fault.action, str(fault))
        idle = Session(plan)
        idle.closed, idle.place, idle.watches = True, place, watches
        sessions: Any = SessionByRank(_session, idle)
        for rank in ranks:
            rank.session = Session(plan, rank=rank.number, world_size=rank.size, record=rank.record)
            rank.session.is_content_wanted, rank.session.place = is_content_wanted, place
            rank.session.watches = watches
        if "parity" in watches:
            collectives.watch_class(SimulatedGroup)
        self._ranks = ranks
        self._patches = Patches()
        activate(sessions)
        try:
            arming.install_hooks(sessions, self._patches)
        except BaseException:
            self.disarm()
            raise

    def disarm(self) -> None:
        for rank in self._ranks:
            if rank.session is not None:
                rank.session.closed = True
        try:
            self._patches.undo()
        finally:
            perform.put_back()
            deactivate()


def end_rank(rank: Rank, signal_name: str | None, status: int | None) -> None:
    """The rank is gone: none of its threads runs on, and its peers see their connections closed.

    Does not return where the calling thread is one of the rank's.
    """
    bury(rank, signal_name, status)
    here = current_task()
    if here is not None and here.rank is rank:
        here.scheduler.park()


def bury(rank: Rank, signal_name: str | None, status: int | None) -> None:
    """As `end_rank`, but the calling thread goes on, to where it can be parked."""
    if rank.state == "dead":
        return
    if rank.exit is None:
        rank.exit = (signal_name, status)
    rank.state = "dead"
    rank.ending = f"died of {signal_name}" if signal_name else f"ended with status {status}"
    if signal_name or status:
        rank.scheduler.rank_failed()
    here = current_task()
    for task in list(rank.tasks):
        if task is not here:
            rank.scheduler.remove(task)
    if rank.network is not None:
        rank.network.close(rank.number)
        close_servers(rank)


def signal_rank(rank: Rank, number: int) -> None:
    """What a signal does to a process: the handler that the rank has set, or else its end where it is deadly.

    As with processes the handler runs on the main thread, whoever sends the signal.
    """
    handler = rank.signal_handlers.get(number, signal.getsignal(number))
    if not callable(handler):
        if handler is not signal.SIG_IGN and number not in SURVIVED:
            end_rank(rank, signal.Signals(number).name, None)
    elif current_task() is rank.main:
        handler(number, sys._getframe(1))
    elif rank.main is not None:
        rank.scheduler.interrupt(rank.main, functools.partial(signal_rank, rank, number))


def send_signal(rank: Rank, number: int) -> None:
    """As `signal_rank`, from the clock: on no thread of the rank."""
    if callable(rank.signal_handlers.get(number, signal.getsignal(number))):
        if rank.main is not None:
            rank.scheduler.interrupt(rank.main, functools.partial(signal_rank, rank, number))
    else:
        rank.scheduler.spawn(rank, functools.partial(signal_rank, rank, number), "signal", is_due=True)


class _SimulatedRank:
    """What injection may ask of a simulated rank: the one that the calling thread is part of."""

    def exit(self, status: int) -> None:
        end_rank(_rank(), None, status)

    def kill(self, number: signal.Signals, *, is_deadly: bool) -> None:
        signal_rank(_rank(), number)

    def hang(self, *, is_native: bool, fault_text: str) -> None:
        rank, here = _rank(), current_task()
        assert here is not None
        if is_native:  # it keeps the interpreter: no thread of the rank goes on
            for task in rank.tasks:
                if task is not here:
                    rank.scheduler.remove(task)
        if here.is_main or is_native:
            rank.state, rank.ending = "frozen", f"hangs by plan at {fault_text.partition('=')[0]}"
        rank.scheduler.park()

    def start_timer(self, seconds: float, ring: Callable[[], None]) -> Timer:
        return _SimulatedTimer(_rank(), seconds, ring)


class _SimulatedTimer:
    """On the rank's clock; `ring` is called on a thread of the rank that goes first."""

    def __init__(self, rank: Rank, seconds: float, ring: Callable[[], None]) -> None:
        self._rank, self._ring, self._is_cancelled = rank, ring, False
        rank.scheduler.add_timer(rank.scheduler.now_ns + round(seconds * NANOSECONDS), self._strike)

    def cancel(self) -> None:
        self._is_cancelled = True

    def _strike(self) -> None:
        rank = self._rank
        is_over = rank.state == "dead" or rank.session is None or rank.session.closed
        if not (self._is_cancelled or is_over):
            rank.scheduler.spawn(rank, self._ring, "faultkit-clock", is_due=True)


def _rank() -> Rank:
    rank = current_rank()
    assert rank is not None
    return rank
