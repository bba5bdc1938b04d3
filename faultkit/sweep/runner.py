"""Runs many plans over one scenario: on one world, or on several side by side.

Guarantees: results come in the order of the plans, however many worlds work.  Each world is driven by a thread
of its own, and all of them are ended when `run_plans` is left: after Ctrl-C, or where the harness failed,
the ranks are killed first, so that no thread waits for a run's deadline.  What is done by then is kept:
`on_result` has had it.  Not covered: deciding which plans (`faultkit.sweep.reachability`).
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from faultkit.checks import Verdict
from faultkit.plan import FaultPlan
from faultkit.scenarios import Stage
from faultkit.sweep.auto_kind import EscalatingWorld
from faultkit.sweep.results import PlanResult, result_of
from faultkit.sweep.schedules import ScheduleChoice, Schedules, run_under
from faultkit.worlds import World

__all__ = ["Stopped", "run_plans"]

JOIN_SECONDS = 0.05
TRIES_OF_SILENT = 3  # of a plan for a place that the rank came by before anything was broken


class Stopped(Exception):
    """Raised by `run_plans` where somebody else said that it must end."""


OnResult = Callable[[int, PlanResult], None]
_Message = tuple[int, PlanResult | BaseException]


def run_plans(
    stage: Stage,
    worlds: Sequence[World | EscalatingWorld],
    plans: Sequence[FaultPlan],
    on_result: OnResult,
    *,
    orders: Sequence[ScheduleChoice],
    schedules: Schedules,
    may_not_fire: bool = False,
    story: bool = False,
    were_reached: bool = False,
    stop: Future[None] | None = None,
) -> None:
    """Run every plan on one of `worlds`; calls ``on_result(index, result)`` here as each is done.

    `orders` has one for each plan.  A plan runs once, or under `schedules`; an `EscalatingWorld` in the place of a
    world runs it as often as it takes.  Where the places of the plans `were_reached` before, a plan of which nothing
    fires runs again: which of two ranks makes a directory is a race.

    Raises what `World.run` raises, KeyboardInterrupt, and Stopped once `stop` is done; the worlds are then of no
    further use.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[_Message] = queue.SimpleQueue()
    for index in range(len(plans)):
        todo.put(index)
    stopped = threading.Event()
    if stop is not None:
        stop.add_done_callback(lambda _: done.put((0, Stopped())))

    def judge(world: World | EscalatingWorld, plan: FaultPlan, order: ScheduleChoice) -> PlanResult:
        if isinstance(world, EscalatingWorld):
            return world.judge(stage, plan, order, schedules, may_not_fire=may_not_fire, story=story)
        once = partial(stage.run, world, plan, may_not_fire=may_not_fire)
        tries = TRIES_OF_SILENT if were_reached and not plan.faults[0].action.replaces_call else 1
        for _ in range(tries):
            run, drawn, covered = run_under(once, order, schedules)
            if run.verdict is not Verdict.INERT:
                break
        order = drawn
        return result_of(run, str(stage.scenario), story=story, order=order, covered=covered)

    def work(world: World | EscalatingWorld) -> None:
        while not stopped.is_set():
            try:
                index = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((index, judge(world, plans[index], orders[index])))
            except BaseException as error:
                done.put((index, error))
                return

    threads = [threading.Thread(target=work, args=(world,), daemon=True) for world in worlds[: len(plans)]]
    try:
        for thread in threads:
            thread.start()
        for _ in plans:
            index, result = done.get()
            if isinstance(result, BaseException):
                raise result
            on_result(index, result)
    except BaseException:
        stopped.set()
        while any(thread.is_alive() for thread in threads):
            _kill_ranks(worlds)  # again and again: a world may just be starting new ones
            for thread in threads:
                if thread.is_alive():
                    thread.join(JOIN_SECONDS)
        raise
    for thread in threads:
        thread.join()


def _kill_ranks(worlds: Sequence[World | EscalatingWorld]) -> None:
    for world in worlds:
        for pid in world.pids().values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
