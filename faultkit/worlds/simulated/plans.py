"""Which plans make sense on simulated ranks, and what to plan instead where one does not.

A rank that is a thread can raise, wait, hang and be gone; it has no process that could be stopped, no memory of
its own and no limits.  Imports no torch: a plan is refused before anything starts.
"""

from __future__ import annotations

from faultkit.exceptions import PlanError
from faultkit.plan import FaultPlan
from faultkit.plan.points import HTTP

__all__ = ["can_carry", "require_carried"]


def can_carry(plan: FaultPlan) -> bool:
    """Whether simulated ranks can carry out every fault of the plan."""
    return all(
        fault.action.on_simulated is None and not fault.in_child and fault.layer != HTTP for fault in plan
    )


def require_carried(plan: FaultPlan) -> None:
    """Raise PlanError, with the reason and the nearest action, for a plan that simulated ranks cannot carry."""
    for fault in plan:
        if fault.in_child:
            raise PlanError(
                f"fault {str(fault)!r} cannot happen to a simulated rank: it is a thread, and has no child processes; "
                "nearest is the same fault in the rank itself, or a world of kind 'fresh'"
            )
        if fault.layer == HTTP:
            raise PlanError(
                f"fault {str(fault)!r} cannot happen to a simulated rank: its requests are not seen; nearest is a "
                "fault at fs.create_stream, or a world of kind 'fresh'"
            )
        obstacle = fault.action.on_simulated
        if obstacle is not None:
            raise PlanError(
                f"fault {str(fault)!r} cannot happen to a simulated rank: {obstacle.reason}; "
                f"nearest is {obstacle.nearest}, or a world of kind 'fresh'"
            )
