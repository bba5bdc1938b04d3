"""Steers the search towards examples that reach more: `target_coverage`, on top of ``hypothesis.target``.

What is scored is one run alone, since a score must be the same each time: how many faults of the plan fired
on how many ranks, and how many steps of the engine were entered.  Not covered: what earlier examples reached.
"""

from __future__ import annotations

import hypothesis

from faultkit.messages import require_type
from faultkit.runs.run import Run

__all__ = ["steer", "target_coverage"]


def target_coverage(run: Run) -> Run:
    """Tell Hypothesis how much `run` reached, and return it.  Once per example, inside a test.

    Raises ``hypothesis.errors.InvalidArgument`` outside of a test of Hypothesis, TypeError for what is no run.
    """
    require_type("target_coverage", "run", run, Run, "a faultkit.Run, as World.run gives it")
    steps = {(e.rank, e.data.get("number")) for e in run.events if e.kind == "step_begin"}
    fired = {(one.fault, one.rank) for one in run.fired}
    hypothesis.target(float(len(steps)), label="faultkit: steps entered")
    hypothesis.target(float(len(fired)), label="faultkit: faults fired, by rank")
    return run


steer = target_coverage  # the earlier name
