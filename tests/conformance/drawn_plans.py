"""Plans drawn as Hypothesis draws them, the same ones every time, and what a run under each came to.

A run is told by the kind of each rank's outcome, the failures that each rank was told of, and the verdict.  What is
left out: texts, and the values of the loaded state, which the scenario itself compares.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from faultkit import FaultPlan, World, strategies
from faultkit.scenarios import Stage

__all__ = ["brought", "drawn", "representative", "told"]

ENDS = ("hang", "exit(3)", "kill(SIGKILL)", "kill(SIGTERM)")
ACTIONS = ("delay(0.01)", *ENDS)
PLANNED = (
    "planner.set_up_planner planner.create_local_plan planner.create_global_plan planner.finish_plan".split()
)
COLLECTIVES = "comm.gather_object comm.scatter_object comm.broadcast_object app.state_dict".split()
POINTS = {
    "save": ("writer.*", *PLANNED, "planner.resolve_data", *COLLECTIVES),
    "load": (
        "reader.*",
        *PLANNED,
        "planner.load_bytes",
        "planner.resolve_tensor",
        "planner.commit_tensor",
        *COLLECTIVES,
        "app.load_state_dict",
    ),
}


def drawn(operation: str, size: int, count: int, number: int, *, ends: bool) -> tuple[FaultPlan, ...]:
    """`count` different plans for `operation` on `size` ranks; with `ends` also delays, hangs, exits and kills."""
    plans: dict[str, FaultPlan] = {}
    strategy = strategies.fault_plans(
        size,
        op=operation,
        points=POINTS[operation],
        actions=st.sampled_from(ACTIONS) if ends else strategies.exceptions(),
        max_faults=2 if ends else 3,
    )

    @seed(number)
    @settings(
        max_examples=2 * count,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(strategy)
    def collect(plan: FaultPlan) -> None:
        if len(plans) < count:
            plans.setdefault(str(plan), plan)

    with warnings.catch_warnings():
        collect()
    return tuple(plans.values())


def brought(plan: FaultPlan) -> set[str]:
    """The points, the actions and the errors of `plan`."""
    found = set()
    for fault in plan:
        point, _, action = re.sub(r"[@#][^=]*", "", str(fault), count=1).partition("=")
        found |= {point, re.sub(r"^(raise\([\w.:]+).*", r"\1)", action)}
    return found


def representative(plans: Iterable[FaultPlan], seen: set[str]) -> tuple[FaultPlan, ...]:
    """Those that bring a point, an action or an error that none before them had; `seen` are had, and grow."""
    found = []
    for plan in plans:
        if not brought(plan) <= seen:
            seen |= brought(plan)
            found.append(plan)
    return tuple(found)


def told(stage: Stage, world: World, plan: FaultPlan) -> tuple[str, ...]:
    """The run of `plan`: a line for each rank, and the verdict."""
    run = stage.run(world, plan, may_not_fire=True)
    lines = []
    for rank, outcome in sorted(run.outcomes.items()):
        failures = getattr(outcome, "failures", None)
        named = {place: error[0] for place, error in sorted((failures or {}).items())}
        lines.append(f"rank {rank} {outcome.kind}" + (f" {named}" if named else ""))
    return (*lines, str(run.verdict))
