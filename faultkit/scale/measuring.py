"""Runs a failing save on simulated worlds of growing size, and sums up what the ranks counted.

Guarantees: sizes are measured in ascending order; with a budget, none is begun that is likely to end after it.
Each run has a directory of its own that is removed.  The numbers of messages and bytes are the same every time;
the seconds are CPU times of this machine.  Not covered: plans that end ranks, for a rank that is gone has counted
nothing.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from faultkit.exceptions import ArgumentError, PlanError
from faultkit.messages import seen
from faultkit.plan import FaultPlan
from faultkit.scale import traffic_counter
from faultkit.scale.scaling import AT_RANKS, AT_RANKS_MAX, Cost, Point, Scaling
from faultkit.scale.work import SAVE
from faultkit.scenarios import Scenario, ScenarioError, Stage, scenario_of
from faultkit.worlds import Returned, Run, World

__all__ = ["DEFAULT_PLAN", "SIZE_MAX", "doubled", "measure", "require_at"]

DEFAULT_PLAN = "writer.write_data@1=raise(OSError, EIO)"
SIZE_MAX = 4096
TIMEOUT_SECONDS = 3600.0


def doubled(low: int, high: int) -> tuple[int, ...]:
    """`low`, twice that, and so on up to `high`.  Raises ValueError for numbers that give no size."""
    for name, value in (("from", low), ("to", high)):
        if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= SIZE_MAX:
            raise ArgumentError(
                "scale", f"{name!r} must be a number of ranks from 2 to {SIZE_MAX} (got {value!r})"
            )
    if low > high:
        raise ArgumentError("scale", f"'from' must not be above 'to' (got {low} and {high})")
    sizes = [low]
    while sizes[-1] * 2 <= high:
        sizes.append(sizes[-1] * 2)
    return tuple(sizes)


def require_at(at: object) -> None:
    """Raises ValueError for no number of ranks to predict the costs for."""
    if isinstance(at, bool) or not isinstance(at, int) or not 2 <= at <= AT_RANKS_MAX:
        raise ArgumentError(
            "scale", f"'at' must be a number of ranks from 2 to {AT_RANKS_MAX} (got {seen(at)})"
        )


def measure(
    scenario: Any = SAVE,
    *,
    plan: FaultPlan | str = DEFAULT_PLAN,
    sizes: Iterable[int] = doubled(2, 256),
    at: int = AT_RANKS,
    budget_seconds: float | None = None,
    on_point: Callable[[Point], None] | None = None,
) -> Scaling:
    """Measure `scenario` under `plan` on a simulated world of each size.

    Args:
        scenario: a `faultkit.scenarios.Scenario`, a checkpointer (whose save is meant), a function, or the name of one.
        plan: what fails in it.
        sizes: of the worlds.
        at: for how many ranks is predicted.
        budget_seconds: after which no further size is begun; None for no limit.
        on_point: called after each size.

    Returns:
        What each collective cost at each size, and the lines through them.

    Raises:
        ScenarioError: the scenario is not known.
        PlanError: the plan does not fit the smallest world, or ends a rank.
        ValueError: a size is out of range.
        HarnessError: ranks cannot be started.
    """
    from faultkit.torch_versions import torch_version

    scenario = scenario_of(scenario)
    plan = FaultPlan.parse(plan) if isinstance(plan, str) else plan
    chosen = sorted(set(sizes))
    if not chosen:
        raise ArgumentError("scale", "sizes must hold at least one number of ranks")
    require_at(at)
    plan.validate_for(chosen[0])
    if any(fault.action.kills for fault in plan.faults):
        raise PlanError(
            f"scale: {str(plan)!r} must leave every rank alive to count what it sent; use actions that raise or delay"
        )
    scenario.validate_for(chosen[0])
    function = functools.partial(traffic_counter.measured, scenario.function)
    on_stage = msgspec.structs.replace(
        scenario,
        function=function,
        reads_back=False,
        preload=(*scenario.preload, "faultkit.scale.traffic_counter"),
    )
    points: list[Point] = []
    began = time.monotonic()
    with Stage(on_stage) as stage:
        for size in chosen:
            if budget_seconds is not None and _is_beyond(
                points, size, began + budget_seconds - time.monotonic()
            ):
                break
            with World(size, kind="simulated", timeout=TIMEOUT_SECONDS, preload=on_stage.preload) as world:
                points.append(_point(stage.run(world, plan), scenario))
            if on_point is not None:
                on_point(points[-1])
    return Scaling(scenario=str(scenario), plan=str(plan), torch=torch_version(), points=tuple(points), at=at)


def _is_beyond(points: list[Point], size: int, left_seconds: float) -> bool:
    """Whether a run on `size` ranks is likely to take longer than that, by how the last two grew."""
    if not points:
        return False
    growth = 2.0
    if len(points) > 1 and points[-2].seconds > 0:
        growth = max(growth, points[-1].seconds / points[-2].seconds)
    return points[-1].seconds * growth ** max(1.0, size / points[-1].ranks / 2) > left_seconds


def _point(run: Run, scenario: Scenario) -> Point:
    counted = {}
    for rank, outcome in run.outcomes.items():
        if not isinstance(outcome, Returned):
            raise PlanError(
                f"scale: {str(run.plan)!r} must leave every rank alive to count what it sent, and rank {rank} "
                f"{outcome.kind}; use actions that raise or delay"
            )
        counted[rank] = outcome.value["counts"]
    if not any(counted.values()):
        raise ScenarioError(
            f"scenario {str(scenario)!r} calls no collective, so that nothing grows with ranks"
        )
    labels = dict.fromkeys(label for rank in counted for label in counted[rank])
    costs = []
    for label in labels:
        rows = {rank: counts[label] for rank, counts in counted.items() if label in counts}
        own = rows.get(run.coordinator, [0, 0, 0, 0, 0.0])
        costs.append(
            Cost(
                collective=label,
                calls=int(max(row[0] for row in rows.values())),
                messages=int(sum(row[1] for row in rows.values())),
                bytes=int(sum(row[2] for row in rows.values())),
                coordinator_bytes=int(own[2] + own[3]),
                coordinator_seconds=max(0.0, own[4]),
                engine_seconds=max(0.0, sum(row[4] for row in rows.values())),
            )
        )
    return Point(ranks=run.world_size, verdict=str(run.verdict), seconds=run.seconds, costs=tuple(costs))
