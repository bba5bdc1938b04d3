"""The scheduler of the simulated world: real threads of which exactly one runs, and a clock that only it moves.

How.  Every thread of a simulated rank is a *task* with a turn lock, a raw one that is held while the task must
wait.  The running task calls `pause` where another one could go first, and `block` where it cannot go on; both
ask the policy who is next, hand over the turn and wait for their own.  When no task is ready, the clock jumps
to the earliest timer; when there is no timer either, nobody can ever go on, which is a fact and no timeout, and
the run is over.  The thread that started the run waits outside meanwhile and is never a task.

Guarantees: which task runs after which depends on the policy and on what the tasks do, on nothing else: no wall
clock, no identity of objects, no order of a hash table.  A task that is parked, or that still waits when the run
is over, never runs another instruction.

Not covered: a task that waits in C (a lock made before the simulation, a socket, a process) holds the turn while it
waits, so all wait with it; the host's deadline is what ends that.  Threads that are not tasks are not scheduled.
"""

from __future__ import annotations

import _thread
import heapq
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faultkit.worlds.simulated.core.policies import Policy
    from faultkit.worlds.simulated.core.ranks import Rank

__all__ = [
    "BLOCKED",
    "OVER",
    "PARKED",
    "READY",
    "Scheduler",
    "Task",
    "allocate_lock",
    "current_task",
    "get_ident",
    "tasks_by_ident",
]

READY, BLOCKED, PARKED, OVER = "ready", "blocked", "parked", "over"
NANOSECONDS = 1_000_000_000
STREAK_MAX = 500  # places at which one task may go on in a row; then it is taken to wait for somebody
IDLE_NS, IDLE_DOUBLINGS_MAX = 1_000, 40
YIELDS_MAX = 1_000  # by `sleep(0)`, in a row; whoever does that more often only looks for something
TRIES_MAX = 3  # in vain, in a row; who tries once more waits for somebody
LOOKS_MAX = 100  # at files, in a row, before that is a place where somebody else may go first
EVENT_NS = 1  # what happens after another thing has a later time, too

# the real ones, whatever `threading` has in their place while ranks are simulated
allocate_lock = _thread.allocate_lock
_start_new_thread = _thread.start_new_thread
get_ident = _thread.get_ident
_get_native_id = _thread.get_native_id
_exit = os._exit

tasks_by_ident: dict[int, Task] = {}  # by the identifier of their thread


def current_task() -> Task | None:
    """The task that the calling thread is, None for any other thread."""
    return tasks_by_ident.get(get_ident())


def _nothing() -> None:
    """What a task has left to do that is over."""


class Task:
    """One thread of a simulated rank.  `why` says for what it waits while it is blocked."""

    __slots__ = (
        "body",
        "ident",
        "imports",
        "is_due",
        "is_main",
        "label",
        "name",
        "native_id",
        "number",
        "operation",
        "priority",
        "rank",
        "scheduler",
        "signals",
        "started",
        "state",
        "step",
        "thread",
        "timed_out",
        "token",
        "turn_lock",
        "why",
    )  # fmt: skip

    def __init__(
        self,
        scheduler: Scheduler,
        number: int,
        rank: Rank,
        body: Callable[[], None],
        name: str,
        is_main: bool,
    ) -> None:
        self.scheduler, self.number, self.rank, self.body, self.name = scheduler, number, rank, body, name
        self.is_main = is_main
        self.turn_lock = allocate_lock()
        self.turn_lock.acquire()
        self.state = READY
        self.priority = 0.0
        self.started = False
        self.ident = self.native_id = 0
        self.why: Any = None
        self.operation: Any = None
        self.is_due = False  # its time has come: it goes before those that would let more time pass
        self.timed_out = False
        self.token = 0
        self.imports = 0
        self.signals: list[Callable[[], None]] = []  # what it has to call before it goes on
        self.thread: Any = None
        self.label = ""
        self.step = ""


class Scheduler:
    """Runs the tasks of one run.  `limit_ns` is where the clock stops; `tick_ns` is the price of a step."""

    def __init__(self, policy: Policy, *, limit_ns: int, tick_ns: int) -> None:
        self.policy = policy
        self.limit_ns = limit_ns
        self.tick_ns = tick_ns
        self.now_ns = 0
        self.steps = 0
        self.switches = 0
        self.reads = 0
        self.looks = 0
        self.tries = 0
        self.run_length = 0
        self.idle_polls = 0  # how often tasks found nothing to do since one did anything
        self.current: Task | None = None
        self.tasks: list[Task] = []  # without those that are over, save for the main ones
        self.task_count = 0
        self.timers: list[tuple[int, int, int, Any]] = []
        self.timer_count = 0
        self.lock_count = 0
        self.own_seconds = 0.0  # CPU time that the simulation of messages took
        self.over = allocate_lock()
        self.over.acquire()
        self.stopped = False
        self.reached_limit = False
        self.closing = False
        self.refusal = ""  # why the run cannot be simulated
        self.grace_ns: int | None = None  # how long the others may go on once a rank has failed
        self.on_switch: Callable[[Task | None, Task], None] = lambda _from, _to: None
        self.on_idle: Callable[[], bool] = lambda: False

    # -- the outside -----------------------------------------------------------------------------

    def spawn(
        self, rank: Rank, body: Callable[[], None], name: str, *, is_main: bool = False, is_due: bool = False
    ) -> Task:
        """A new task, ready to run `body` on a thread of its own; at once if it `is_due`."""
        task = Task(self, self.task_count, rank, body, name, is_main)
        self.task_count += 1
        task.is_due = is_due
        self.tries = 0
        self.tasks.append(task)
        rank.tasks.append(task)
        self.policy.added(task)
        self.policy.ready(task)
        return task

    def go(self, timeout_seconds: float) -> bool:
        """Run until nobody can go on any more; False where that takes longer in real time.  Not from a task."""
        self.stopped = False
        following = self._next()
        if following is None:
            return True
        self._hand_to(None, following)
        return self.over.acquire(timeout=max(0.0, timeout_seconds))

    def number_of_lock(self) -> int:
        """A number for another lock, the same in every run."""
        self.lock_count += 1
        return self.lock_count

    # -- what tasks call -------------------------------------------------------------------------

    def stamp_ns(self) -> int:
        """The time of an event: later than that of any before."""
        self.now_ns += EVENT_NS
        return self.now_ns

    def pause(self, operation: Any = None, *, is_look: bool = False, demote: bool = False) -> None:
        """A place where another task may go first; `demote`: rather than this one.  A look changes nothing."""
        if not is_look:
            self.idle_polls = 0
        me = self.current
        assert me is not None
        if me.imports:
            return  # whoever imports the same module would wait in C
        me.operation = operation
        self._tick()
        if self.now_ns > self.limit_ns:
            self.park()
        self.run_length += 1
        following = self.policy.at_pause(me, demote or self.run_length > STREAK_MAX)
        if following is not me:
            self._hand_to(me, following)
            me.turn_lock.acquire()
        me.operation = None
        if me.signals:
            self._answer(me)

    def found_nothing(self) -> None:
        """The running task has tried in vain, and will do something else or try again.

        Others may go first.  They do once it tries again and again: each piece of work that is given to a pool tries
        for a thread that is idle, and who did so once is not behind its pool from then on.
        """
        self.tries += 1
        if self.tries > TRIES_MAX:
            self.yield_turn()
        else:
            self.pause(is_look=True)

    def yield_turn(self, operation: Any = None, *, patience: int = 0) -> None:
        """The running task has found nothing to do: the others go first.

        Where all that could go on have found nothing to do, time passes, the faster the longer that lasts, but never
        past a timer.  So many rounds are well before that as `patience` says.
        """
        if self.current is not None and self.current.imports:
            return  # nobody can go first, and a module that looks at many files does not wait for any
        self.idle_polls += 1
        rounds = self.idle_polls // (1 + self.policy.ready_count()) - patience
        if rounds > 1:
            later_ns = self.now_ns + (IDLE_NS << min(rounds, IDLE_DOUBLINGS_MAX))
            if self.timers:
                later_ns = min(later_ns, max(self.now_ns, self.timers[0][0]))
            self.now_ns = min(later_ns, self.limit_ns + 1)
        self.pause(operation, is_look=True, demote=True)

    def poll(self) -> None:
        """The running task looks at what others may have done; after many looks they go first."""
        self.looks += 1
        if self.looks > LOOKS_MAX:
            self.looks = 0
            self.yield_turn(("look",))

    def block(self, why: Any, deadline_ns: int | None = None, *, patient: bool = False) -> bool:
        """Wait until somebody calls `wake`; False where the clock reached `deadline_ns` before.

        A `patient` deadline is one that alone proves no life: if nothing else can happen, the clock does not
        jump to it.
        """
        self.idle_polls = 0
        me = self.current
        assert me is not None
        me.state, me.why, me.timed_out = BLOCKED, why, False
        me.token += 1
        if deadline_ns is not None:
            self.add_timer(deadline_ns, (me, me.token), patient=patient)
        self._tick()
        self._leave(me)
        me.turn_lock.acquire()
        me.why = me.operation = None
        is_woken = not me.timed_out
        if me.signals:
            self._answer(me)
        return is_woken

    def wake(self, task: Task) -> None:
        """The task may go on; nothing for one that does not wait."""
        if task.state is BLOCKED:
            self.idle_polls = self.tries = 0
            task.state = READY
            task.token += 1
            why = task.why
            task.operation = why if isinstance(why, tuple) and why[0] in ("lock", "store") else None
            self.policy.ready(task)

    def sleep(self, duration_ns: int) -> None:
        if duration_ns <= 0:
            self.yield_turn(("sleep",), patience=YIELDS_MAX)
        else:
            due_ns = self.now_ns + duration_ns
            while self.now_ns < due_ns and self.block(("sleep",), due_ns):
                pass  # it was interrupted

    def interrupt(self, task: Task, what: Callable[[], None]) -> None:
        """Have the task call `what` where it can: at once if it sleeps or waits for a lock, else when it goes on."""
        task.signals.append(what)
        why = task.why
        if task.state is BLOCKED and isinstance(why, tuple) and why[0] in ("lock", "sleep"):
            self.wake(task)

    def park(self) -> None:
        """The calling task never goes on: its rank has ended, or is held for ever."""
        me = self.current
        assert me is not None
        me.state = PARKED
        self._leave(me)
        while True:
            me.turn_lock.acquire()

    def refuse(self, why: str) -> None:
        """The running task does what cannot be simulated: the run is over.  Does not return."""
        self.refusal, self.stopped = why, True
        self.park()

    def remove(self, task: Task) -> None:
        """Park a task that is not the running one."""
        if task.state is READY:
            self.policy.removed(task)
        if task.state is not OVER:
            task.state = PARKED
            task.token += 1

    def close_soon(self, grace_ns: int) -> None:
        """What is still going on now may go on for that long; then the run is over as it should be."""
        self.closing = True
        self.limit_ns = min(self.limit_ns, self.now_ns + grace_ns)

    def rank_failed(self) -> None:
        """A rank has ended as no rank should."""
        if self.grace_ns is not None:
            self.limit_ns = min(self.limit_ns, self.now_ns + self.grace_ns)

    def _reach_limit(self) -> None:
        self.reached_limit = not self.closing

    def add_timer(self, due_ns: int, what: Any, *, patient: bool = False) -> None:
        """At `due_ns` wake (task, token), or call a function."""
        self.timer_count += 1
        heapq.heappush(self.timers, (due_ns, self.timer_count, int(patient), what))

    # -- inside ----------------------------------------------------------------------------------

    def _answer(self, me: Task) -> None:
        while me.signals:
            me.signals.pop(0)()

    def _tick(self) -> None:
        self.steps += 1
        self.reads = self.looks = 0
        self.now_ns += self.tick_ns
        while self.timers and self.timers[0][0] <= self.now_ns:
            self._ring(heapq.heappop(self.timers))

    def _ring(self, timer: tuple[int, int, int, Any]) -> None:
        what = timer[3]
        if callable(what):
            what()
            return
        task, token = what
        if task.token == token and task.state is BLOCKED:
            task.timed_out = task.is_due = True
            self.wake(task)

    def _is_live(self, timer: tuple[int, int, int, Any]) -> bool:
        what = timer[3]
        if callable(what):
            return bool(getattr(what, "is_live", True))
        return bool(what[0].token == what[1] and what[0].state is BLOCKED)

    def _next(self) -> Task | None:
        """Who runs now; moves the clock where nobody is ready.  None: nobody ever will be."""
        while True:
            following = self.policy.take()
            if following is not None:
                return following
            while self.timers and not self._is_live(self.timers[0]):
                heapq.heappop(self.timers)
            if not any(not timer[2] and self._is_live(timer) for timer in self.timers):
                if self.on_idle():
                    continue
                return None
            due_ns = self.timers[0][0]
            if due_ns > self.limit_ns:
                self._reach_limit()
                self.now_ns = max(self.now_ns, self.limit_ns)
                return None
            self.now_ns = max(self.now_ns, due_ns)
            while self.timers and self.timers[0][0] <= self.now_ns:
                self._ring(heapq.heappop(self.timers))

    def _leave(self, me: Task) -> None:
        """Hand the turn on from a task that does not go on by itself; it may come straight back."""
        following = None if self.stopped else self._next()
        if following is None or self.now_ns > self.limit_ns:
            if self.now_ns > self.limit_ns:
                self._reach_limit()
            self.stopped = True
            self.current = None
            self.over.release()
        else:
            self._hand_to(me, following)

    def _hand_to(self, me: Task | None, following: Task) -> None:
        self.switches += 1
        self.run_length = self.tries = 0
        self.current = following
        following.state = READY
        self.on_switch(me, following)
        if following.started:
            following.turn_lock.release()
        else:
            following.started = True
            _start_new_thread(self._main, (following,))

    def _main(self, task: Task) -> None:
        task.ident, task.native_id = get_ident(), _get_native_id()
        tasks_by_ident[task.ident] = task
        try:
            task.body()
        finally:
            task.state = OVER
            if not task.is_main:
                task.body, task.thread = _nothing, None  # what only a thread held is garbage once it is over
                self.tasks.remove(task)
            task.token += 1
            if tasks_by_ident.pop(task.ident, None) is None:
                _exit(0)  # this is a process that the task has forked: nobody here waits for a turn
            task.rank.task_is_over(task)
            self._leave(task)
