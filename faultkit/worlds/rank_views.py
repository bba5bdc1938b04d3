"""What each rank does, as the parent sees it from outside while a run goes on: its `RankView`.

Guarantees: a rank is looked at through its shared memory and `/proc` alone, and is asked nothing; one that a planned
`stop` freezes for a while is resumed on time.  Not covered: what follows from the views
(`faultkit.worlds.deadlock_detector`), and who waits for the ranks (`faultkit.worlds.supervision`).
"""

from __future__ import annotations

import signal
import time
from typing import NamedTuple

from faultkit.plan import Fault, FaultPlan
from faultkit.processes.procfs import (
    Poll,
    clock_of,
    is_still,
    is_stopped,
    polls_of,
    tasks_of,
    waits_for_ever,
    waits_for_itself,
)
from faultkit.runs.outcomes import Outcome, Raised, Returned
from faultkit.runs.records import records
from faultkit.worlds.deadlock_detector import RankView
from faultkit.worlds.rank_processes import RankHandle, RankProcesses, exit_words

__all__ = ["End", "RankViews"]


class End(NamedTuple):
    """How an attempt of a rank ended, and whether the rank goes on all the same."""

    outcome: Outcome
    is_paused: bool  # until the others have ended theirs
    keeps_threads: bool
    is_leaving: bool  # its process is about to end


class RankViews:
    """The views of one run; `plan` says what may hold a rank."""

    def __init__(self, processes: RankProcesses, plan: FaultPlan) -> None:
        self.processes = processes
        self.plan = plan
        self.members: dict[int, dict[str, tuple[int, ...]]] = {}
        self.fired: dict[int, list[tuple[int, Fault]]] = {}
        self.read_bytes: dict[int, int] = {}
        self.resumed: set[tuple[int, int]] = set()

    def look(self, ends: dict[int, End]) -> dict[int, RankView]:
        """The views of all ranks now; `ends` are those of the ranks whose attempt is over."""
        views = {}
        for handle in self.processes.ranks:
            self.read_log(handle)
            views[handle.rank] = self.view(handle, ends.get(handle.rank))
        return views

    def read_log(self, handle: RankHandle) -> None:
        """Take in groups and fired faults from the rank's log, if it has grown."""
        committed = handle.memory.committed()
        if self.read_bytes.get(handle.rank) == committed:
            return
        self.read_bytes[handle.rank] = committed
        fired = []
        for time_ns, kind, data in records(handle.memory.log()):
            if kind == "group":
                self.members.setdefault(handle.rank, {})[data["name"][:40]] = tuple(data["ranks"])
            elif kind == "fired" and not data.get("child"):  # what holds a child holds no thread of the rank
                fired.append((time_ns, self.plan.faults[data["fault"]]))
        self.fired[handle.rank] = fired

    def view(self, handle: RankHandle, end: End | None) -> RankView:
        rank, memory = handle.rank, handle.memory
        state, ending, busy = "running", "", False
        blocked, waits = None, False
        alive, active = memory.thread_counts()
        calls = memory.threads()
        clock: tuple[object, ...] = ()
        polls: tuple[Poll, ...] = ()
        if handle.exitcode is not None:
            name, status = exit_words(handle.exitcode)
            state, ending = "dead", f"died of {name}" if name else f"ended with status {status}"
        elif end is not None:
            state, ending = "finished", _ending(end.outcome)
            # one that is about to end wakes the others by that: nobody waits for it in vain
            busy = end.keeps_threads or (end.is_paused and active > 0)
            if busy:
                tasks = tasks_of(handle.pid)
                clock, polls = clock_of(tasks), polls_of(handle.pid, tasks)
                busy = not is_still(handle.pid, tasks, {call.native_id for call in calls})
            busy = busy or end.is_leaving
        else:
            blocked = next((call for call in calls if call.native_id == handle.pid), None)
            hanging = sum(
                fault.action.holds in ("thread", "interpreter") for _, fault in self.fired.get(rank, ())
            )
            frozen = self.frozen(handle)
            if frozen and (blocked is None or self.holds_interpreter(rank) or is_stopped(handle.pid)):
                state, ending, blocked = "frozen", frozen, None
                busy = 0 < hanging < active and not self.holds_interpreter(rank)
                busy = busy and not is_still(
                    handle.pid, tasks_of(handle.pid), {call.native_id for call in calls}
                )
            else:
                waits = blocked is None and waits_for_itself(handle.pid)
                busy = active > len(calls) - (blocked is not None)
            if blocked is not None or waits or busy:
                tasks, numbers = tasks_of(handle.pid), {call.native_id for call in calls}
                if waits or busy:  # a thread that is counted as active may be waiting, too
                    busy = not is_still(handle.pid, tasks, numbers)
                polling = {call.native_id for call in calls if call.kind.startswith("store.")}
                clock, polls = clock_of(tasks, polling), polls_of(handle.pid, tasks, polling)
        return RankView(
            rank,
            state,
            ending,
            blocked,
            tuple(memory.groups()),
            self.members.get(rank, {}),
            busy,
            state != "dead" and alive > 0,
            clock,
            tuple(call for call in calls if call is not blocked) if state == "running" else (),
            waits,
            polls,
        )

    def holds_interpreter(self, rank: int) -> bool:
        """Whether a planned fault holds the interpreter lock for ever: then no thread of the rank goes on."""
        return any(fault.action.holds == "interpreter" for _, fault in self.fired.get(rank, ()))

    def frozen(self, handle: RankHandle) -> str:
        """Why the rank will never go on by itself, if a planned fault holds it; resumes it when that is due."""
        fired = self.fired.get(handle.rank, [])
        for time_ns, fault in fired:
            holds = fault.action.holds
            if holds in ("thread", "interpreter") and (
                self.holds_interpreter(handle.rank) or waits_for_ever(handle.pid)
            ):
                return f"hangs by plan at {fault.point}"
            if _stops_for_good(fault):
                if is_stopped(handle.pid):
                    return f"is stopped by plan at {fault.point}"
            elif holds == "process" and (handle.rank, time_ns) not in self.resumed:
                due = time.monotonic_ns() - time_ns >= float(fault.action["resume_seconds"]) * 1e9
                # on a busy machine the rank may only be about to stop: nothing would resume it after that
                if due and is_stopped(handle.pid) and not any(_stops_for_good(other) for _, other in fired):
                    self.processes.signal(handle.rank, signal.SIGCONT)
                    self.resumed.add((handle.rank, time_ns))
        return ""


def _stops_for_good(fault: Fault) -> bool:
    return fault.action.holds == "process" and fault.action.duration_seconds is None


def _ending(outcome: Outcome) -> str:
    if isinstance(outcome, Raised):
        return f"raised {outcome.type_name}"
    return "returned" if isinstance(outcome, Returned) else "ended"
