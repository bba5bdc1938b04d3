"""One run, watched from the parent: send the call, follow every rank, end with an outcome for each.

Guarantees: it waits on events (a rank's result, a rank's end), looks at the ranks' shared memory at a slow tick
while it waits, and ends at the first of: every rank has an outcome; the watcher proves a hang; the deadline.  On
the latter two it first takes every rank's stack, or, where a rank has failed and a launcher keeps the job, ends the
ranks that are left.  Ranks that a planned `stop` freezes for a while are resumed on time.  Nothing here writes to a
rank's memory while the run goes on.
"""

from __future__ import annotations

import contextlib
import select
import signal
import time
from typing import Any

import msgspec

from faultkit.exceptions import HarnessError
from faultkit.plan import Fault
from faultkit.processes import serialization
from faultkit.processes.channel import ChannelClosed
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
from faultkit.runs import launcher
from faultkit.runs.outcomes import Died, Hung, Outcome, Raised, Returned
from faultkit.runs.records import records
from faultkit.runs.run import Run
from faultkit.worlds.crew import Crew, RankHandle, exit_words
from faultkit.worlds.deadlock_detector import RankView, Watcher, waiting_texts
from faultkit.worlds.rank import Call
from faultkit.worlds.stacks import shorten, waited

__all__ = ["Supervision"]

TICK_SECONDS = 0.02
FIRST_TICK_SECONDS = 0.05  # most runs are over by then, and nobody had to look
GROUP_COUNT_MAX = 64  # the ranks' memory has slots for twice as many
DEATH_SECONDS_MAX = 5.0  # after SIGKILL


class Supervision:
    """The parent's view of one run on a crew."""

    def __init__(
        self, crew: Crew, call: Call, timeout_seconds: float, kind: str, kept_by: str = launcher.NONE
    ) -> None:
        self.crew = crew
        self.call = call
        self.kind = kind
        self.kept_by = kept_by
        self.timeout_seconds = timeout_seconds
        self.outcomes: dict[int, Outcome] = {}
        self.health: dict[int, dict[str, Any]] = {}
        self.members: dict[int, dict[str, tuple[int, ...]]] = {}
        self.fired: dict[int, list[tuple[int, Fault]]] = {}
        self.read_bytes: dict[int, int] = {}
        self.resumed: set[tuple[int, int]] = set()
        self.leaving: set[int] = set()
        self.paused: dict[int, Outcome] = {}  # between two attempts: how the one before ended
        self.earlier: dict[int, list[Outcome]] = {}  # the attempts before the one that goes on
        self.after: dict[int, tuple[Outcome, ...]] = {}
        self.has_failed = False  # a rank has, and a launcher has seen it
        self.ended: dict[int, str] = {}  # by the launcher: for what each of them waited
        self.signals = [signal.SIGTERM, signal.SIGKILL]  # that the launcher has not sent yet
        self.deadline = 0.0

    def run(self, *, may_not_fire: bool = False) -> Run:
        crew = self.crew
        crew.wait_ready()
        for handle in crew.ranks:
            handle.clear()
        started_ns = time.monotonic_ns()
        self.send()
        self.deadline = started_ns / 1e9 + self.timeout_seconds
        hung = self.follow()
        seconds = (time.monotonic_ns() - started_ns) / 1e9
        if hung is not None:
            self.bury(hung)
        run = Run(
            plan=self.call.plan,
            world_size=crew.size,
            kind=self.kind,
            outcomes=dict(sorted(self.outcomes.items())),
            logs={handle.rank: handle.memory.log() for handle in crew.ranks},
            started_ns=started_ns,
            output={handle.rank: handle.output() for handle in crew.ranks},
            seconds=seconds,
            timeout_seconds=self.timeout_seconds,
            dropped=sum(handle.memory.dropped() for handle in crew.ranks),
            may_not_fire=may_not_fire,
            attempts_after=dict(sorted(self.after.items())),
            seed=self.call.seed,
            launcher=self.kept_by,
        )
        crew.healthy = self.is_healthy()
        return run

    def send(self) -> None:
        import pickle

        message = pickle.dumps(("call", self.call), protocol=5)
        for handle in self.crew.ranks:
            try:
                handle.channel.send_bytes(message)
            except ChannelClosed:
                pass  # it has just ended; the server's message says how

    # -- following -------------------------------------------------------------------------------

    def follow(self) -> dict[int, str] | None:
        """Wait for the outcomes: None once all are there, else for whom the ranks without one wait, if known."""
        crew, watcher = self.crew, Watcher()
        poller = select.poll()
        by_descriptor = {handle.channel.fileno(): handle for handle in crew.ranks}
        for descriptor in by_descriptor:
            poller.register(descriptor, select.POLLIN)
        poller.register(crew.channel.fileno(), select.POLLIN)
        tick_seconds = FIRST_TICK_SECONDS
        while len(self.outcomes) < crew.size:
            remaining = self.deadline - time.monotonic()
            if remaining <= 0:
                self.drain(by_descriptor, poller)
                if len(self.outcomes) == crew.size:
                    return None
                waiting = waiting_texts(self.views())
                if not self.end_peers(waiting):
                    return waiting
                continue
            ready = poller.poll(min(tick_seconds, remaining) * 1000)
            for descriptor, _ in ready:
                if descriptor in by_descriptor:
                    self.take(by_descriptor[descriptor], poller)
                else:
                    crew.poll_server()
                    self.note_deaths()
            if self.paused:
                self.go_on()
            if not ready:
                tick_seconds = TICK_SECONDS
                views = self.views()
                if not self.ended and watcher.hangs(views):
                    self.drain(by_descriptor, poller)
                    waiting = waiting_texts(views)
                    if len(self.outcomes) < crew.size and not self.end_peers(waiting):
                        return waiting
        return None

    def end_peers(self, waiting: dict[int, str]) -> bool:
        """Where a rank has failed, end the others as a launcher does; False where there is nothing more to send."""
        if not self.has_failed or not self.signals:
            return False
        number = self.signals.pop(0)
        left = [handle.rank for handle in self.crew.ranks if handle.rank not in self.outcomes]
        if not self.ended:
            stacks = self.crew.dump_stacks(left, may_spy=False)
            self.ended = {rank: waited(shorten(stacks[rank]), waiting.get(rank, "")) for rank in left}
        for rank in left:
            self.crew.signal(rank, number)
        seconds = launcher.TERMINATION_SECONDS if self.signals else DEATH_SECONDS_MAX
        self.deadline = time.monotonic() + seconds
        return True

    def drain(self, by_descriptor: dict[int, RankHandle], poller: Any) -> None:
        self.crew.poll_server()
        for handle in by_descriptor.values():
            self.take(handle, poller)
        self.note_deaths()

    def take(self, handle: RankHandle, poller: Any = None) -> None:
        if handle.rank in self.outcomes:
            if poller is not None:
                self._forget(handle, poller)
            return
        try:
            messages = handle.channel.receive_ready()
        except ChannelClosed:
            if poller is not None:
                self._forget(handle, poller)  # the server will say how it ended
            return
        for message in messages:
            if message[0] == "failed":
                last = message[1].strip().splitlines()[-1]
                raise HarnessError(f"faultkit failed on rank {handle.rank}: {last}\n{message[1]}")
            if message[0] == "pause":
                self.paused[handle.rank] = serialization.decode_outcome(message[1])
                continue
            _, result, health, leave = message
            self.health[handle.rank] = health
            if health["directory"]:
                self.crew.own(health["directory"])
            outcome = serialization.decode_outcome(result)
            if leave is not None:
                # it ends as planned, or by sys.exit; what it raised before is kept where the plan made it raise
                self.crew.healthy = False
                self.leaving.add(handle.rank)
            self.conclude(handle.rank, outcome)

    def conclude(self, rank: int, outcome: Outcome) -> None:
        """The rank's last attempt ended in `outcome`; what became of the rank under the plan is its first one's."""
        if rank in self.ended and isinstance(outcome, Died):
            outcome = msgspec.structs.replace(outcome, by=launcher.LAUNCHER, waiting=self.ended[rank])
        attempts = [*self.earlier.pop(rank, ()), outcome]
        self.outcomes[rank] = attempts[0]
        if len(attempts) > 1:
            self.after[rank] = tuple(attempts[1:])

    def go_on(self) -> None:
        """Let the ranks that wait between two attempts go on once all are there, or end where one never will be."""
        crew = self.crew
        if len(self.paused) + sum(rank not in self.paused for rank in self.outcomes) < crew.size:
            return
        word = "go" if len(self.paused) == crew.size else "stop"
        for rank, outcome in self.paused.items():
            if word == "go":
                self.earlier.setdefault(rank, []).append(outcome)
            with contextlib.suppress(ChannelClosed):  # it has just ended; the server's message says how
                crew.ranks[rank].channel.send((word,))
        self.paused.clear()
        self.deadline = time.monotonic() + self.timeout_seconds

    @staticmethod
    def _forget(handle: RankHandle, poller: Any) -> None:
        try:
            poller.unregister(handle.channel.fileno())
        except KeyError:
            pass

    def note_deaths(self) -> None:
        for handle in self.crew.ranks:
            if handle.exitcode is None:
                continue
            if handle.exitcode and not self.has_failed and self.kept_by != launcher.NONE:
                self.has_failed = True
                self.deadline = min(self.deadline, time.monotonic() + launcher.GRACE_SECONDS)
            self.take(handle)  # what it sent before it ended counts
            if handle.rank not in self.outcomes:
                name, status = exit_words(handle.exitcode)
                self.paused.pop(handle.rank, None)
                stack = shorten(handle.stacks()) if handle.rank not in self.ended else ""
                self.conclude(handle.rank, Died(name, status, stack))

    # -- looking ---------------------------------------------------------------------------------

    def views(self) -> dict[int, RankView]:
        views = {}
        for handle in self.crew.ranks:
            self.read_log(handle)
            views[handle.rank] = self.view(handle)
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
                fired.append((time_ns, self.call.plan.faults[data["fault"]]))
        self.fired[handle.rank] = fired

    def view(self, handle: RankHandle) -> RankView:
        rank, memory = handle.rank, handle.memory
        state, ending, busy = "running", "", False
        outcome = self.outcomes.get(rank) or self.paused.get(rank)
        blocked, waits = None, False
        alive, active = memory.thread_counts()
        calls = memory.threads()
        clock: tuple[object, ...] = ()
        polls: tuple[Poll, ...] = ()
        if handle.exitcode is not None:
            name, status = exit_words(handle.exitcode)
            state, ending = "dead", f"died of {name}" if name else f"ended with status {status}"
        elif outcome is not None:
            state, ending = "finished", _ending(outcome)
            # one that is about to end wakes the others by that: nobody waits for it in vain
            busy = bool(self.health.get(rank, {}).get("threads")) or (rank in self.paused and active > 0)
            if busy:
                tasks = tasks_of(handle.pid)
                clock, polls = clock_of(tasks), polls_of(handle.pid, tasks)
                busy = not is_still(handle.pid, tasks, {call.native_id for call in calls})
            busy = busy or rank in self.leaving
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
                    self.crew.signal(handle.rank, signal.SIGCONT)
                    self.resumed.add((handle.rank, time_ns))
        return ""

    # -- the end ---------------------------------------------------------------------------------

    def bury(self, waiting: dict[int, str]) -> None:
        """Give every rank without an outcome its stack; the crew is done for."""
        for rank, outcome in self.paused.items():
            self.conclude(rank, outcome)
        self.paused.clear()
        left = [handle.rank for handle in self.crew.ranks if handle.rank not in self.outcomes]
        for rank in left:
            if is_stopped(self.crew.ranks[rank].pid):
                waiting.setdefault(rank, "stopped (SIGSTOP)")
        stacks = {rank: shorten(stack) for rank, stack in self.crew.dump_stacks(left).items()}
        for rank in left:
            self.conclude(rank, Hung(stacks[rank], waited(stacks[rank], waiting.get(rank, ""))))
        self.crew.healthy = False

    def is_healthy(self) -> bool:
        """Whether all ranks can run again together: alive, idle, their group whole and in step."""
        ends = [*self.outcomes.values(), *(outcome for after in self.after.values() for outcome in after)]
        if not self.crew.healthy or not all(isinstance(end, (Returned, Raised)) for end in ends):
            return False
        if any(h["threads"] or not (h["group"] and h["modules"]) for h in self.health.values()):
            return False
        counts = {
            tuple((g.entered, g.left) for g in handle.memory.groups() if g.name == "0")
            for handle in self.crew.ranks
        }
        pending = any(
            g.entered != g.left or g.sent or g.received for h in self.crew.ranks for g in h.memory.groups()
        )
        crowded = any(len(h.memory.groups()) > GROUP_COUNT_MAX for h in self.crew.ranks)
        return len(counts) == 1 and not pending and not crowded


def _stops_for_good(fault: Fault) -> bool:
    return fault.action.holds == "process" and fault.action.duration_seconds is None


def _ending(outcome: Outcome) -> str:
    if isinstance(outcome, Raised):
        return f"raised {outcome.type_name}"
    return "returned" if isinstance(outcome, Returned) else "ended"
