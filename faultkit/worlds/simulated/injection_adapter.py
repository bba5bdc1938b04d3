"""The injection of faults, told apart by rank: one set of hooks serves the sessions of all ranks of a run.

Every rank has a session of its own, with its own counters and its own log.  What the hooks are given is a stand-in
that answers for the rank that asks, so an object is interposed once however many ranks there are.  The actions
that would end or stop a process do it to the rank.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from typing import Any

from faultkit.hooks.patches import Patches
from faultkit.injection import arming, engine, expectations, files_raw, functions, perform
from faultkit.injection.session import Session, lay_down, take_up
from faultkit.plan import FaultPlan
from faultkit.plan.actions import Action
from faultkit.worlds.simulated.core.ranks import Rank, current_rank
from faultkit.worlds.simulated.core.scheduler import current_task, get_ident, tasks_by_ident
from faultkit.worlds.simulated.network.opened_stores import close_servers

__all__ = ["Armed", "bury", "end_rank", "install", "send_signal", "set_alarms", "signal_rank"]

SURVIVED = frozenset(
    getattr(signal, name) for name in ("SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH") if hasattr(signal, name)
)


class _Sessions:
    """The session of whatever rank asks; of no rank, one that is closed."""

    def __init__(self, idle: Session) -> None:
        object.__setattr__(self, "_idle", idle)

    def __getattr__(self, name: str) -> Any:
        task = tasks_by_ident.get(get_ident())  # `current_rank`, without the call: this is asked all the time
        return getattr(self._idle if task is None else task.rank.session, name)

    def __setattr__(self, name: str, value: Any) -> None:
        rank = current_rank()
        setattr(self._idle if rank is None else rank.session, name, value)


def _of_rank(name: str, default: Any) -> property:
    def read(self: Any) -> Any:
        rank = current_rank()
        return default() if rank is None else rank.engine.setdefault(name, default())

    def write(self: Any, value: Any) -> None:
        rank = current_rank()
        if rank is not None:
            rank.engine[name] = value

    return property(read, write)


class _Engines(engine._Engine):
    """The hooks on the engine, with counters for each rank."""

    attempt_count = _of_rank("attempt_count", int)
    step_count = _of_rank("step_count", int)
    handed_over = _of_rank("handed_over", list)


def install() -> None:
    """Once, in the host."""
    engine.keep_hooks()
    assert engine._kept is not None
    engine._kept.__class__ = _Engines
    perform._PERFORMERS.update(exit=_exit, kill=_kill, hang=_hang)


class Armed:
    """The plan is in force for all ranks from here to `disarm`."""

    def __init__(self, plan: FaultPlan, ranks: list[Rank], *, is_content_wanted: bool, place: str) -> None:
        for fault in plan:
            perform.prepare(fault.action, str(fault))
        idle = Session(plan)
        idle.closed, idle.place = True, place
        sessions: Any = _Sessions(idle)
        for rank in ranks:
            rank.session = Session(plan, rank=rank.number, world_size=rank.size, record=rank.record)
            rank.session.is_content_wanted, rank.session.place = is_content_wanted, place
        self._ranks = ranks
        self._patches = Patches()
        take_up(sessions)
        try:
            engine.install(sessions, self._patches)
            expectations.install(sessions, self._patches)
            files_raw.install(sessions, self._patches)
            functions.install(sessions, self._patches)
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
            perform.unlimit()
            lay_down()


def set_alarms(rank: Rank) -> None:
    """Have the plan's faults at a time strike the rank then, each on a thread of its own that goes first."""
    session, scheduler = rank.session, rank.scheduler
    assert session is not None
    for index, fault in enumerate(session.plan):
        if fault.layer == "clock" and session.hits_rank(index, fault):
            milliseconds = int(fault.calls)
            ring = functools.partial(arming._ring, session, (index, fault, fault.point, milliseconds))

            def strike(ring: Callable[[], None] = ring) -> None:
                if rank.state != "dead" and not session.closed:
                    scheduler.spawn(rank, ring, "faultkit-clock", is_due=True)

            scheduler.add_timer(scheduler.now_ns + milliseconds * 1_000_000, strike)


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


def _rank() -> Rank:
    rank = current_rank()
    assert rank is not None
    return rank


def _exit(action: Action, fault_text: str) -> None:
    end_rank(_rank(), None, int(action["code"]))


def _kill(action: Action, fault_text: str) -> None:
    signal_rank(_rank(), signal.Signals[str(action["signal"])])


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


def _hang(action: Action, fault_text: str) -> None:
    rank, here = _rank(), current_task()
    assert here is not None
    if action["how"] == "native":  # it keeps the interpreter: no thread of the rank goes on
        for task in rank.tasks:
            if task is not here:
                rank.scheduler.remove(task)
    if here.is_main or action["how"] == "native":
        rank.state, rank.ending = "frozen", f"hangs by plan at {fault_text.partition('=')[0]}"
    rank.scheduler.park()
