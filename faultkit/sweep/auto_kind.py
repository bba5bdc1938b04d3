"""Kind ``auto``: plans run on simulated ranks, and what breaks a promise there is run again on processes.

Guarantees: a broken promise is reported only as real ranks broke it: new processes run the same plan, and their
run is the one that is told.  Where they come to another verdict, each of `CONFIRMING_COUNT_MAX` times, that is a
finding of its own, told with both verdicts and both stories.  A plan that the simulated world refuses runs on
processes alone.  Not covered: a plan that holds on simulated ranks is not run on processes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from faultkit.exceptions import PlanError
from faultkit.plan import FaultPlan
from faultkit.runs.launcher import NONE
from faultkit.scenarios import Scenario, Stage
from faultkit.sweep.results import PlanResult, result_of, story_of
from faultkit.sweep.schedules import ScheduleChoice, Schedules, run_under
from faultkit.worlds import Run, World
from faultkit.worlds.arguments import require_kind
from faultkit.worlds.kinds import KINDS

__all__ = ["CONFIRMING_COUNT_MAX", "EscalatingWorld", "world_of"]

CONFIRMING_COUNT_MAX = 3


class EscalatingWorld:
    """A simulated world, and above it one of processes, of kind `above`, that are started when they are first asked."""

    def __init__(
        self,
        size: int,
        above: str,
        *,
        timeout: float,
        preload: tuple[str, ...],
        launcher: str = NONE,
        ranks_differ: bool = False,
    ) -> None:
        options: dict[str, Any] = {
            "timeout": timeout,
            "preload": preload,
            "launcher": launcher,
            "ranks_differ": ranks_differ,
        }
        self.simulated = World(size, kind="simulated", **options)
        self.processes = World(size, kind=above, **options)

    def __enter__(self) -> EscalatingWorld:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.simulated.close()
        finally:
            self.processes.close()

    def restart(self) -> None:
        """End the ranks of both; the next run has new ones."""
        self.simulated.restart()
        self.processes.restart()

    def supports(self, plan: FaultPlan) -> bool:
        """Whether every fault of `plan` can happen to one of the two."""
        return self.simulated.supports(plan) or self.processes.supports(plan)

    def validate_plan(self, plan: FaultPlan) -> None:
        """Raise PlanError for a plan that neither can run."""
        self.processes.validate_plan(plan)

    def pids(self) -> dict[int, int]:
        """The process numbers of both worlds, under numbers that only tell them apart."""
        found = [*self.simulated.pids().values(), *self.processes.pids().values()]
        return dict(enumerate(found))

    def judge(
        self,
        stage: Stage,
        plan: FaultPlan,
        order: ScheduleChoice,
        schedules: Schedules,
        *,
        may_not_fire: bool,
        story: bool,
    ) -> PlanResult:
        """The result of `plan`: from simulated ranks where every promise held, else from processes.

        Raises what `World.run` raises.
        """
        name = str(stage.scenario)
        on_processes = partial(stage.run, self.processes, plan, may_not_fire=may_not_fire, seed=order.seed)
        try:
            once = partial(stage.run, self.simulated, plan, may_not_fire=may_not_fire)
            found, found_order, covered = run_under(once, order, schedules)
        except PlanError:  # the plan itself is good: it has been validated for this many ranks
            return _result(on_processes(), name, story, ScheduleChoice(order.seed))
        if not found.violations:
            return _result(found, name, story, found_order, covered=covered)
        more: dict[str, Any] = {
            "covered": covered,
            "simulated": found.verdict,
            "simulated_order": found_order,
        }
        runs: list[Run] = []
        while len(runs) < CONFIRMING_COUNT_MAX:
            runs.append(on_processes())
            if runs[-1].verdict == found.verdict:
                return _result(runs[-1], name, story, ScheduleChoice(order.seed), **more)
        worst = min(runs, key=lambda run: run.verdict.severity)
        told = _result(worst, name, True, ScheduleChoice(order.seed), **more)
        return msgspec.structs.replace(told, story=_both_stories(found, runs, worst, name))


def world_of(
    size: int, kind: str, timeout: float, scenario: Scenario, launcher: str, ranks_differ: bool
) -> World | EscalatingWorld:
    """The world of a sweep; nothing starts yet.  Raises ValueError as `World` does."""
    options: dict[str, Any] = {
        "timeout": timeout,
        "preload": scenario.preload,
        "launcher": launcher,
        "ranks_differ": ranks_differ,
    }
    if above := KINDS[require_kind(kind)].confirmed_by:
        return EscalatingWorld(size, above, **options)
    return World(size, kind=kind, **options)


def _result(run: Run, scenario: str, wants_story: bool, order: ScheduleChoice, **more: Any) -> PlanResult:
    told = result_of(run, scenario, story=wants_story, order=order)
    return msgspec.structs.replace(told, kind=run.kind, **more)


def _both_stories(found: Run, runs: list[Run], worst: Run, scenario: str) -> str:
    verdicts = ", ".join(dict.fromkeys(str(run.verdict) for run in runs))
    return (
        f"the worlds differ: {found.verdict} on simulated ranks, {verdicts} on processes "
        f"in {len(runs)} runs\n\non processes\n\n{story_of(worst, scenario)}"
        f"\n\non simulated ranks\n\n{story_of(found, scenario)}"
    )
