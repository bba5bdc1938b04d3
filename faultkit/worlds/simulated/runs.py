"""One run of all ranks in the host: set them up, let the scheduler go, say what became of each.

The order of things is that of a run on processes (`faultkit.worlds.rank`): each rank starts from the same state,
runs the function, and, where attempts after were asked for, waits for the others before it runs it again.
"""

from __future__ import annotations

import datetime
import gc
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from faultkit.injection.arming import set_alarms
from faultkit.injection.errors import describe
from faultkit.interception.patches import Patches
from faultkit.processes import idleness, module_finder, serialization
from faultkit.worlds.rank import attempt
from faultkit.worlds.simulated import agent, injection_adapter, wait_reasons
from faultkit.worlds.simulated.core import rebinding, refusals
from faultkit.worlds.simulated.core.policies import STEPS_WITH_FILES, Choices, Priorities
from faultkit.worlds.simulated.core.ranks import Rank
from faultkit.worlds.simulated.core.scheduler import OVER, Scheduler
from faultkit.worlds.simulated.messages import SimulatedCall, Simulation
from faultkit.worlds.simulated.network import c10d_state, process_group
from faultkit.worlds.simulated.network.store import Values
from faultkit.worlds.simulated.network.wire import Network
from faultkit.worlds.simulated.process import (
    alarms,
    child_environment,
    children,
    cpu_affinity,
    file_points,
    gc_control,
    isolation,
    leaks,
    module_locks,
    output,
    resources,
    thread_identity,
)

__all__ = ["carry_out", "install"]

TICK_NS = 1_000_000  # what a step of one rank costs, shared by all ranks, since they would step side by side
GRACE_NS = 50_000_000  # for threads that end by themselves, on the simulated clock
YOUNG_COUNT = 64  # collections of what the last run left, before one of all that lives
STACK_BYTES, SMALL_STACK_BYTES = (
    8 << 20,
    2 << 20,
)  # a process has 8 MiB; what nobody touches costs addresses only
SMALL_FROM = 1025  # ranks: more than 8 GiB of addresses is more than some machines hand out


def install() -> None:
    """Once, in the host: torch.distributed and the injection learn to tell ranks apart."""
    c10d_state.install()
    injection_adapter.install()
    alarms.install()
    isolation.install()
    gc_control.install()
    children.install()
    child_environment.install()
    leaks.install()
    resources.install()
    cpu_affinity.install()
    refusals.install()
    rebinding.sweep()
    module_locks.divide(rebinding.user_modules())


def carry_out(order: SimulatedCall, answer: Callable[[dict[str, Any]], None]) -> None:
    """Run the call on all ranks, answer, and then clear up, while the parent judges what it got."""
    with cpu_affinity.kept():
        _carry_out(order, answer)
    gc.collect(2 if gc.get_count()[1] >= YOUNG_COUNT else 0)  # nobody is under way here


def _carry_out(order: SimulatedCall, answer: Callable[[dict[str, Any]], None]) -> None:
    cpu_seconds = time.process_time()
    call, size = order.call, order.size
    module_finder.install(call.modules)
    has_file_points = order.schedule is not None or bool(call.seed)  # else each rank goes on as far as it can
    policy: Any = (
        Priorities(call.seed, size, steps_guessed=STEPS_WITH_FILES)
        if order.schedule is None
        else Choices(order.schedule)
    )
    scheduler = Scheduler(policy, limit_ns=int(order.limit_seconds * 1e9), tick_ns=max(1, TICK_NS // size))
    agent.keep(order.launcher, scheduler)
    network = Network(lambda rank, name: injection_adapter.bury(rank, name, None))
    process_group.use(network)
    values = Values()
    ranks = [Rank(number, size, scheduler) for number in range(size)]
    for rank in ranks:
        rank.network, rank.values, rank.world = network, values, c10d_state.RankWorld()
    scheduler.on_switch = isolation.switch
    threading.stack_size(SMALL_STACK_BYTES if size >= SMALL_FROM else STACK_BYTES)
    path = list(sys.path)
    sys.path[:] = call.path
    state = isolation.State(call, ranks)
    leaks.begin()
    points = Patches()
    if has_file_points:
        file_points.install(call.place, points)
    armed = injection_adapter.Armed(
        call.plan,
        ranks,
        is_content_wanted=call.is_content_wanted,
        place=call.place,
        watches=frozenset(call.watches),
    )
    try:
        shared = _Shared(order, values, tuple(range(size)))
        for rank in ranks:
            rank.main = scheduler.spawn(rank, _Body(rank, shared), "MainThread", is_main=True)
        began = time.process_time()
        finished = _attempts(order, scheduler, ranks)
        program_seconds = time.process_time() - began - scheduler.own_seconds
        if finished:
            leaks.record_left(ranks, scheduler)
        simulation = Simulation(
            seed=call.seed,
            seconds=scheduler.now_ns / 1e9,
            steps=scheduler.steps,
            switches=scheduler.switches,
            cpu_seconds=time.process_time() - cpu_seconds,
            program_seconds=program_seconds,
            is_certain=finished and not scheduler.reached_limit,
            decisions=policy.decisions if order.schedule is not None else (),
        )
        answer(_result(ranks, scheduler, simulation))
    finally:
        armed.disarm()
        points.undo()
        state.restore()
        process_group.use(None)  # the run is garbage once it is over
        for rank in ranks:
            output.forget(rank)
        sys.path[:] = path
        threading.stack_size(0)


def _attempts(order: SimulatedCall, scheduler: Scheduler, ranks: list[Rank]) -> bool:
    """Let the ranks run, as often as asked for; False where that took too long in real time."""
    real_deadline = time.monotonic() + order.real_seconds
    for number in range(order.call.attempts_after + 1):
        if number:
            rank_states = {rank.state for rank in ranks}
            if "paused" not in rank_states:
                break
            for rank in ranks:
                if rank.state == "paused" and rank.main is not None:
                    rank.may_go_on = rank_states == {"paused"}
                    rank.state = "running"
                    scheduler.wake(rank.main)
            scheduler.limit_ns = scheduler.now_ns + int(order.limit_seconds * 1e9)
            real_deadline = time.monotonic() + order.real_seconds
        is_over = scheduler.go(real_deadline - time.monotonic())
        if not is_over:
            refusals.look_for_wait(scheduler)
        if scheduler.refusal:
            return False
        is_over = agent.end_peers(order.launcher, scheduler, ranks, is_over, real_deadline)
        if not is_over:
            return False
    return True


class _Shared:
    """What the ranks of one run have in common."""

    def __init__(self, order: SimulatedCall, values: Values, numbers: tuple[int, ...]) -> None:
        self.order, self.values, self.numbers = order, values, numbers
        self.places = dict(zip(numbers, numbers, strict=True))
        seconds = order.group_timeout_seconds
        self.timeout = datetime.timedelta(seconds=seconds) if seconds is not None else None
        self._open = len(numbers)

    def is_through(self, scheduler: Scheduler) -> None:
        """Another rank's function is over; when all are, their helper threads have a moment to end."""
        self._open -= 1
        if not self._open:
            scheduler.close_soon(GRACE_NS)


class _Body:
    """What the main thread of one rank does."""

    def __init__(self, rank: Rank, shared: _Shared) -> None:
        self._rank, self._shared = rank, shared

    def __call__(self) -> None:
        rank, call = self._rank, self._shared.order.call
        thread_identity.adopt_main_thread(rank)
        session = rank.session
        assert session is not None
        session.threads.adopt()
        leave: int | None = None
        try:
            set_alarms(session)
            if self._shared.order.backend:
                c10d_state.form_default_group(
                    rank, self._shared.values, self._shared.timeout, self._shared.numbers, self._shared.places
                )
            work = [serialization.load_call(call.body)]
            leave = self._attempt(work)
            for number in range(1, call.attempts_after + 1):
                if leave is not None or not self._pause():
                    break
                if number == 1 and call.then is not None:
                    work[0] = serialization.load_call(call.then)
                session.disarmed = True
                session.record("again", number=number)
                leave = self._attempt(work)
            work.clear()
        except BaseException as error:
            rank.results.append(("raised", serialization.encode_exception(error, describe(error))))
        session.closed = True
        rank.state, rank.is_through = "finished", True
        self._shared.is_through(rank.scheduler)
        if leave is not None:
            injection_adapter.end_rank(rank, None, leave)

    def _attempt(self, work: list[Any]) -> int | None:
        rank = self._rank
        assert rank.session is not None
        result, leave = attempt(work[0], rank.session, idleness.of_virtual_time)
        rank.results.append(result)
        return leave

    def _pause(self) -> bool:
        rank = self._rank
        rank.state = "paused"
        rank.scheduler.block(("pause",))
        return rank.may_go_on


def _result(ranks: list[Rank], scheduler: Scheduler, simulation: Simulation) -> dict[str, Any]:
    frames = sys._current_frames()
    for rank in ranks:
        output.collect(rank)
    texts = wait_reasons.texts_of(ranks)
    attempts: dict[int, list[tuple[str, Any]]] = {}
    for rank in ranks:
        ends = attempts[rank.number] = list(rank.results)
        if rank.ended[0] and ends and ends[-1][0] == "exit":  # by the rank's own handler of SIGTERM
            ends[-1] = ("died", (None, ends[-1][1], "", *rank.ended))
        if rank.is_through or rank.state == "paused":
            continue
        if rank.exit is not None:
            ends.append(("died", (*rank.exit, "", *rank.ended)))
        else:
            ends.append(("hung", (wait_reasons.stack_of(rank, frames), texts.get(rank.number, ""))))
    return {
        "attempts": attempts,
        "logs": {rank.number: bytes(rank.log) for rank in ranks},
        "output": {rank.number: "".join(rank.output) for rank in ranks},
        "refusal": scheduler.refusal,
        "whole": not scheduler.refusal
        and all(task.state is OVER for task in scheduler.tasks)
        and not any(rank.session is not None and rank.session.broke_import for rank in ranks),
        "simulation": simulation,
    }
