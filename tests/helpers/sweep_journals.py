"""Journals made by hand, for tests of how a sweep is told."""

from __future__ import annotations

from faultkit import FaultPlan, Fired, Verdict, Violation
from faultkit.sweep.results import Journal, OutcomeNote, PlanResult

HELD, HUNG, MASKED = Verdict.HELD, Verdict.HUNG, Verdict.MASKED


def result(plan, verdict=HELD, evidence="rank 0 waits", check="liveness", seconds=0.25):
    plan = FaultPlan.parse(plan)
    violations = () if verdict is HELD else (Violation(check, verdict, evidence, (0,)),)
    fired = tuple(Fired(fault, 0, 1, 0.01, "write", fault.point) for fault in plan)
    story = "" if verdict is HELD else f"{verdict}: the story of <{plan}>"
    return PlanResult(plan, verdict, violations, fired, {0: OutcomeNote("returned")}, seconds, story)


def journal(*results, world_size=2, **fields):
    defaults = {"scenario": "dcp-save", "kind": "warm", "torch": "9.9", "seconds": 2.0}
    fields = {**defaults, "planned_count": len(results), **fields}
    return Journal(results=results, world_size=world_size, **fields)


def small_journal(**fields):
    """Two places on two ranks: one hangs, the other is reached by rank 0 alone and holds."""
    return journal(
        result("writer.reset@0=raise(ValueError)", HUNG),
        result("writer.reset@1=raise(ValueError)", HUNG, "rank 1 waits"),
        result("writer.finish:after@0=raise(ValueError)"),
        unreached=("writer.storage_meta",),
        **fields,
    )
