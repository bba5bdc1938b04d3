"""What is the same about two violations: who is under test, what was promised, and where it broke.

Guarantees: no rank, count, seed, path or line number takes part, so that the same is the same in every run.
"""

from __future__ import annotations

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checks import Violation
from faultkit.plan import FaultPlan

__all__ = ["identity_of_plan"]


def identity_of_plan(checkpointer: Checkpointer, word: str, violation: Violation, plan: FaultPlan) -> str:
    """The identity of a violation that a plan of ``NAME.word`` led to."""
    points = ",".join(sorted({f"{fault.point}" for fault in plan})) or "nothing broken"
    actions = ",".join(sorted({fault.action.name for fault in plan}))
    return f"{checkpointer.name}.{word}/{violation.check}/{violation.verdict}/{points}/{actions}"
