"""Kind ``auto``: plans run on simulated ranks, and what breaks a promise there is run again on processes.

Promises.  A broken promise is reported only as real ranks broke it: new processes run the same plan, and their
run is the one that is told.  Where they come to another verdict, each of `CONFIRMING_COUNT_MAX` times, that is a
finding of its own, told with both verdicts and both stories.  A plan that the simulated world refuses runs on
processes alone.  Left out: a plan that holds on simulated ranks is not run on processes.
"""

from __future__ import annotations

import msgspec

from faultkit.plan import FaultPlan
from faultkit.scenarios import Stage
from faultkit.sweep.journal import PlanResult, result_of, story_of
from faultkit.wording import PlanError
from faultkit.worlds import Run, World

__all__ = ["AUTO", "CONFIRMING_COUNT_MAX", "Ladder"]

AUTO = "auto"
CONFIRMING_COUNT_MAX = 3


class Ladder:
    """A simulated world, and above it one of fresh processes that are started when they are first asked."""

    def __init__(self, size: int, *, timeout: float, preload: tuple[str, ...]) -> None:
        self.simulated = World(size, kind="simulated", timeout=timeout, preload=preload)
        self.processes = World(size, kind="fresh", timeout=timeout, preload=preload)

    def __enter__(self) -> Ladder:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.simulated.close()
        finally:
            self.processes.close()

    def pids(self) -> dict[int, int]:
        """The process numbers of both worlds, under numbers that only tell them apart."""
        found = [*self.simulated.pids().values(), *self.processes.pids().values()]
        return dict(enumerate(found))

    def judge(self, stage: Stage, plan: FaultPlan, *, may_not_fire: bool, story: bool) -> PlanResult:
        """The result of `plan`: from simulated ranks where every promise held, else from processes.

        Raises what `World.run` raises.
        """
        name = str(stage.scenario)
        try:
            found = stage.run(self.simulated, plan, may_not_fire=may_not_fire)
        except PlanError:  # the plan itself is good: it has been validated for this many ranks
            again = stage.run(self.processes, plan, may_not_fire=may_not_fire)
            return _of_kind(result_of(again, name, story=story), again)
        if not found.violations:
            return _of_kind(result_of(found, name, story=story), found)
        runs: list[Run] = []
        while len(runs) < CONFIRMING_COUNT_MAX:
            runs.append(stage.run(self.processes, plan, may_not_fire=may_not_fire))
            if runs[-1].verdict == found.verdict:
                confirmed = _of_kind(result_of(runs[-1], name, story=story), runs[-1])
                return msgspec.structs.replace(confirmed, simulated=found.verdict)
        worst = min(runs, key=lambda run: run.verdict.severity)
        told = _of_kind(result_of(worst, name, story=True), worst)
        return msgspec.structs.replace(
            told, simulated=found.verdict, story=_both_stories(found, runs, worst, name)
        )


def _of_kind(result: PlanResult, run: Run) -> PlanResult:
    return msgspec.structs.replace(result, kind=run.kind)


def _both_stories(found: Run, runs: list[Run], worst: Run, scenario: str) -> str:
    verdicts = ", ".join(dict.fromkeys(str(run.verdict) for run in runs))
    return (
        f"the worlds differ: {found.verdict} on simulated ranks, {verdicts} on processes "
        f"in {len(runs)} runs\n\non processes\n\n{story_of(worst, scenario)}"
        f"\n\non simulated ranks\n\n{story_of(found, scenario)}"
    )
