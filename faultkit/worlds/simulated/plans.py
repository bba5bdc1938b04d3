"""Which plans make sense on simulated ranks, and what to plan instead where one does not.

A rank that is a thread can raise, wait, hang and be gone; it has no process that could be stopped, no memory of
its own and no limits.  Imports no torch: a plan is refused before anything starts.
"""

from __future__ import annotations

from faultkit.exceptions import PlanError
from faultkit.plan import Fault, FaultPlan

__all__ = ["can_carry", "require_carried"]

_STOPPING_SIGNALS = ("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU")


def can_carry(plan: FaultPlan) -> bool:
    """Whether simulated ranks can carry out every fault of the plan."""
    return all(_obstacle(fault) is None for fault in plan)


def require_carried(plan: FaultPlan) -> None:
    """Raise PlanError, with the reason and the nearest action, for a plan that simulated ranks cannot carry."""
    for fault in plan:
        obstacle = _obstacle(fault)
        if obstacle is not None:
            reason, nearest = obstacle
            raise PlanError(
                f"fault {str(fault)!r} cannot happen to a simulated rank: {reason}; "
                f"nearest is {nearest}, or a world of kind 'fresh'"
            )


def _obstacle(fault: Fault) -> tuple[str, str] | None:
    """(why not, what is nearest), or None where the fault can happen."""
    action = fault.action
    if action.name == "memory":
        return "all ranks share the memory of one process", "raise(MemoryError)"
    if action.name == "limit":
        return "all ranks share the limits of one process", "full, which fails the writes of one rank"
    if action.name == "segfault":
        return "it would end the process that all ranks share", "kill(SIGSEGV)"
    if action.name == "stop":
        resume = action.get("resume_seconds")
        nearest = "hang(native)" if resume is None else f"delay({resume:g})"
        return "it would stop the process that all ranks share", nearest
    if action.name == "kill" and action["signal"] in _STOPPING_SIGNALS:
        return "it would stop the process that all ranks share", "hang(native)"
    if action.name == "kill" and action["signal"] == "SIGINT":
        return "a thread gets no signals", "raise(KeyboardInterrupt)"
    return None
