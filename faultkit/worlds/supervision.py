"""One run, watched from the parent: send the call, follow every rank, end with an outcome for each.

Guarantees: it waits on events (a rank's result, a rank's end), looks at the ranks' shared memory at a slow tick
while it waits, and ends at the first of: every rank has an outcome; the detector proves a hang; the deadline.  On the
latter two it first takes every rank's stack, or, where a rank has failed and a launcher keeps the job, ends the
ranks that are left.  Nothing here writes to a rank's memory while the run goes on.  Not covered: what a rank does
meanwhile (`faultkit.worlds.rank_views`).
"""

from __future__ import annotations

import contextlib
import select
import signal
import time
from typing import Any

import msgspec

from faultkit.exceptions import HarnessError
from faultkit.processes import serialization
from faultkit.processes.channel import ChannelClosed
from faultkit.processes.procfs import is_stopped
from faultkit.runs import launcher
from faultkit.runs.outcomes import Died, Hung, Outcome, Raised, Returned
from faultkit.runs.run import Run
from faultkit.worlds.deadlock_detector import DeadlockDetector, RankView, waiting_texts
from faultkit.worlds.rank import Call
from faultkit.worlds.rank_processes import RankHandle, RankProcesses, exit_words
from faultkit.worlds.rank_views import End, RankViews
from faultkit.worlds.stacks import shorten, waited

__all__ = ["Supervision"]

TICK_SECONDS = 0.02
FIRST_TICK_SECONDS = 0.05  # most runs are over by then, and nobody had to look
GROUP_COUNT_MAX = 64  # the ranks' memory has slots for twice as many
DEATH_SECONDS_MAX = 5.0  # after SIGKILL


class Supervision:
    """The parent's view of one run on the processes of a world."""

    def __init__(
        self,
        processes: RankProcesses,
        call: Call,
        timeout_seconds: float,
        kind: str,
        kept_by: str = launcher.NONE,
    ) -> None:
        self.processes = processes
        self.call = call
        self.kind = kind
        self.kept_by = kept_by
        self.timeout_seconds = timeout_seconds
        self.outcomes: dict[int, Outcome] = {}
        self.health: dict[int, dict[str, Any]] = {}
        self.rank_views = RankViews(processes, call.plan)
        self.leaving: set[int] = set()
        self.paused: dict[int, Outcome] = {}  # between two attempts: how the one before ended
        self.earlier: dict[int, list[Outcome]] = {}  # the attempts before the one that goes on
        self.after: dict[int, tuple[Outcome, ...]] = {}
        self.has_failed = False  # a rank has, and a launcher has seen it
        self.ended: dict[int, str] = {}  # by the launcher: for what each of them waited
        self.signals = [signal.SIGTERM, signal.SIGKILL]  # that the launcher has not sent yet
        self.deadline = 0.0

    def run(self, *, may_not_fire: bool = False) -> Run:
        processes = self.processes
        processes.wait_ready()
        for handle in processes.ranks:
            handle.clear()
        started_ns = time.monotonic_ns()
        self.send()
        self.deadline = started_ns / 1e9 + self.timeout_seconds
        hung = self.follow()
        seconds = (time.monotonic_ns() - started_ns) / 1e9
        if hung is not None:
            self.finish_hung(hung)
        run = Run(
            plan=self.call.plan,
            world_size=processes.size,
            kind=self.kind,
            outcomes=dict(sorted(self.outcomes.items())),
            logs={handle.rank: handle.memory.log() for handle in processes.ranks},
            started_ns=started_ns,
            output={handle.rank: handle.output() for handle in processes.ranks},
            seconds=seconds,
            timeout_seconds=self.timeout_seconds,
            dropped=sum(handle.memory.dropped() for handle in processes.ranks),
            may_not_fire=may_not_fire,
            attempts_after=dict(sorted(self.after.items())),
            seed=self.call.seed,
            launcher=self.kept_by,
        )
        processes.healthy = self.is_healthy()
        return run

    def send(self) -> None:
        import pickle

        message = pickle.dumps(("call", self.call), protocol=5)
        for handle in self.processes.ranks:
            try:
                handle.channel.send_bytes(message)
            except ChannelClosed:
                pass  # it has just ended; the server's message says how

    # -- following -------------------------------------------------------------------------------

    def follow(self) -> dict[int, str] | None:
        """Wait for the outcomes: None once all are there, else for whom the ranks without one wait, if known."""
        processes, detector = self.processes, DeadlockDetector()
        poller = select.poll()
        by_descriptor = {handle.channel.fileno(): handle for handle in processes.ranks}
        for descriptor in by_descriptor:
            poller.register(descriptor, select.POLLIN)
        poller.register(processes.channel.fileno(), select.POLLIN)
        tick_seconds = FIRST_TICK_SECONDS
        while len(self.outcomes) < processes.size:
            remaining = self.deadline - time.monotonic()
            if remaining <= 0:
                self.drain(by_descriptor, poller)
                if len(self.outcomes) == processes.size:
                    return None
                waiting = waiting_texts(self.views())
                if not self.end_peers(waiting):
                    return waiting
                continue
            ready = poller.poll(min(tick_seconds, remaining) * 1000)
            for descriptor, _ in ready:
                if descriptor in by_descriptor:
                    self.read_messages(by_descriptor[descriptor], poller)
                else:
                    processes.poll_server()
                    self.note_deaths()
            if self.paused:
                self.resume_attempts()
            if not ready:
                tick_seconds = TICK_SECONDS
                views = self.views()
                if not self.ended and detector.hangs(views):
                    self.drain(by_descriptor, poller)
                    waiting = waiting_texts(views)
                    if len(self.outcomes) < processes.size and not self.end_peers(waiting):
                        return waiting
        return None

    def end_peers(self, waiting: dict[int, str]) -> bool:
        """Where a rank has failed, end the others as a launcher does; False where there is nothing more to send."""
        if not self.has_failed or not self.signals:
            return False
        number = self.signals.pop(0)
        left = [handle.rank for handle in self.processes.ranks if handle.rank not in self.outcomes]
        if not self.ended:
            stacks = self.processes.dump_stacks(left, may_spy=False)
            self.ended = {rank: waited(shorten(stacks[rank]), waiting.get(rank, "")) for rank in left}
        for rank in left:
            self.processes.signal(rank, number)
        seconds = launcher.TERMINATION_SECONDS if self.signals else DEATH_SECONDS_MAX
        self.deadline = time.monotonic() + seconds
        return True

    def drain(self, by_descriptor: dict[int, RankHandle], poller: Any) -> None:
        self.processes.poll_server()
        for handle in by_descriptor.values():
            self.read_messages(handle, poller)
        self.note_deaths()

    def read_messages(self, handle: RankHandle, poller: Any = None) -> None:
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
            outcome = serialization.decode_outcome(result)
            if leave is not None:
                # it ends as planned, or by sys.exit; what it raised before is kept where the plan made it raise
                self.processes.healthy = False
                self.leaving.add(handle.rank)
            self.record_outcome(handle.rank, outcome)

    def record_outcome(self, rank: int, outcome: Outcome) -> None:
        """The rank's last attempt ended in `outcome`; what became of the rank under the plan is its first one's."""
        if rank in self.ended and isinstance(outcome, Died):
            outcome = msgspec.structs.replace(outcome, by=launcher.LAUNCHER, waiting=self.ended[rank])
        attempts = [*self.earlier.pop(rank, ()), outcome]
        self.outcomes[rank] = attempts[0]
        if len(attempts) > 1:
            self.after[rank] = tuple(attempts[1:])

    def resume_attempts(self) -> None:
        """Let the ranks that wait between two attempts go on once all are there, or end where one never will be."""
        processes = self.processes
        if len(self.paused) + sum(rank not in self.paused for rank in self.outcomes) < processes.size:
            return
        word = "go" if len(self.paused) == processes.size else "stop"
        for rank, outcome in self.paused.items():
            if word == "go":
                self.earlier.setdefault(rank, []).append(outcome)
            with contextlib.suppress(ChannelClosed):  # it has just ended; the server's message says how
                processes.ranks[rank].channel.send((word,))
        self.paused.clear()
        self.deadline = time.monotonic() + self.timeout_seconds

    @staticmethod
    def _forget(handle: RankHandle, poller: Any) -> None:
        try:
            poller.unregister(handle.channel.fileno())
        except KeyError:
            pass

    def note_deaths(self) -> None:
        for handle in self.processes.ranks:
            if handle.exitcode is None:
                continue
            if handle.exitcode and not self.has_failed and self.kept_by != launcher.NONE:
                self.has_failed = True
                self.deadline = min(self.deadline, time.monotonic() + launcher.GRACE_SECONDS)
            self.read_messages(handle)  # what it sent before it ended counts
            if handle.rank not in self.outcomes:
                name, status = exit_words(handle.exitcode)
                self.paused.pop(handle.rank, None)
                stack = shorten(handle.stacks()) if handle.rank not in self.ended else ""
                self.record_outcome(handle.rank, Died(name, status, stack))

    def views(self) -> dict[int, RankView]:
        """What every rank does now; resumes those whose planned `stop` is over."""
        ends = {}
        for rank, outcome in {**self.paused, **self.outcomes}.items():
            keeps_threads = bool(self.health.get(rank, {}).get("threads"))
            ends[rank] = End(outcome, rank in self.paused, keeps_threads, rank in self.leaving)
        return self.rank_views.look(ends)

    # -- the end ---------------------------------------------------------------------------------

    def finish_hung(self, waiting: dict[int, str]) -> None:
        """Give every rank without an outcome its stack; the processes are done for."""
        for rank, outcome in self.paused.items():
            self.record_outcome(rank, outcome)
        self.paused.clear()
        left = [handle.rank for handle in self.processes.ranks if handle.rank not in self.outcomes]
        for rank in left:
            if is_stopped(self.processes.ranks[rank].pid):
                waiting.setdefault(rank, "stopped (SIGSTOP)")
        stacks = {rank: shorten(stack) for rank, stack in self.processes.dump_stacks(left).items()}
        for rank in left:
            self.record_outcome(rank, Hung(stacks[rank], waited(stacks[rank], waiting.get(rank, ""))))
        self.processes.healthy = False

    def is_healthy(self) -> bool:
        """Whether all ranks can run again together: alive, idle, their group whole and in step."""
        ends = [*self.outcomes.values(), *(outcome for after in self.after.values() for outcome in after)]
        if not self.processes.healthy or not all(isinstance(end, (Returned, Raised)) for end in ends):
            return False
        if any(fault.in_child for fault in self.call.plan):
            return False  # what they have started is armed, and ends with them
        if any(h["threads"] or not (h["group"] and h["modules"]) for h in self.health.values()):
            return False
        counts = {
            tuple((g.entered, g.left) for g in handle.memory.groups() if g.name == "0")
            for handle in self.processes.ranks
        }
        pending = any(
            g.entered != g.left or g.sent or g.received
            for h in self.processes.ranks
            for g in h.memory.groups()
        )
        crowded = any(len(h.memory.groups()) > GROUP_COUNT_MAX for h in self.processes.ranks)
        return len(counts) == 1 and not pending and not crowded
