"""The parts of the injection that few plans need, each loaded by the first that does: every rank pays for its start.

Guarantees: `modules_of` names what a plan needs beyond what every rank has; the fork server loads it before it forks
the ranks of a run (`faultkit.worlds.kinds.process_kind`), so that it is loaded once for all of them, and `arm` loads
it where that did not happen.  Importing this module imports no engine.  Not covered: what a part itself loads later.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from faultkit.plan import Fault, FaultPlan
from faultkit.plan.named_points import CALL, FUNCTIONS
from faultkit.plan.points import HTTP

__all__ = [
    "CHILDREN",
    "FILES",
    "FUNCTION_CALLS",
    "PARTS",
    "REQUESTS",
    "STREAMS",
    "VALUES",
    "load",
    "load_all",
    "modules_of",
]

CHILDREN = "faultkit.injection.children"
FILES = "faultkit.injection.files.raw"
STREAMS = "faultkit.injection.files.streams"
FUNCTION_CALLS = "faultkit.injection.functions"
REQUESTS = "faultkit.injection.requests"
VALUES = "faultkit.injection.values"


_NEEDED_BY: tuple[tuple[str, Callable[[Fault], bool]], ...] = (
    (CHILDREN, lambda fault: fault.in_child),
    (FILES, lambda fault: fault.layer == "fs"),
    (STREAMS, lambda fault: fault.layer == "fs"),
    (FUNCTION_CALLS, lambda fault: fault.point in FUNCTIONS or fault.layer in (CALL, "fs")),
    (REQUESTS, lambda fault: fault.layer == HTTP),
    (VALUES, lambda fault: fault.action.alters_value),
)

PARTS = tuple(module for module, _ in _NEEDED_BY)


def modules_of(plan: FaultPlan) -> tuple[str, ...]:
    """The modules that carry out what this plan has; those that every rank has are not among them."""
    return tuple(module for module, needs in _NEEDED_BY if any(map(needs, plan)))


def load(plan: FaultPlan) -> tuple[str, ...]:
    """Have loaded what this plan needs, before anything of it is in force; gives what `modules_of` does."""
    needed = modules_of(plan)
    for module in needed:
        importlib.import_module(module)
    return needed


def load_all() -> None:
    """Have all of it loaded: where ranks run that may not import for themselves, or where others are forked."""
    for module in PARTS:
        importlib.import_module(module)
