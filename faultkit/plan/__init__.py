"""What breaks in a run: `Fault` and `FaultPlan`, values with one line of text each.

    plan   :=  fault (";" fault)*
    fault  :=  point ["(" files ")"] [":" moment] ["@" ranks] ["#" calls] "=" action
    point  :=  layer "." name | "call." module ":" function      see faultkit.plan.points
    files  :=  path ["," thread] | thread                        layer fs; http: a path; "child" with all but http
    path   :=  string                                            a glob: "*.distcp"; see faultkit.plan.file_filters
    thread :=  "main" | "helper" | "child"
    moment :=  "before" | "after" | "future"                     default before
    ranks  :=  "*" | role | span ("," span)*                     default *; span := int | int "-" int
    role   :=  "coordinator" | "others" | "first" | "last"
    calls  :=  int | int "-" int | int "-" | "*"                 1-based, counted per rank and files; default 1-
    action :=  name ["(" argument ("," argument)* ")"]           see faultkit.plan.actions

    writer.write_data:future@3=raise(ValueError, "disk gone"); writer.finish:after@coordinator=kill(SIGKILL)
    fs.write("*.distcp", helper)@1#2=raise(OSError, ENOSPC)

Values are immutable, hashable and canonical: spans are sorted and merged and defaults left out, so that two
plans that say the same are equal, and ``FaultPlan.parse(str(plan)) == plan``.  The empty plan is the empty
text.  Reading a plan runs no code: JSON (`faultkit.plan.plan_json`) or text, never pickle, and an exception type
that is neither a builtin nor one of `faultkit.hostile` only where the caller's allow list names it.  Left
out: carrying a plan out, and whether its points are ever reached.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.exceptions import PlanError
    from faultkit.plan.fault_plan import Fault, FaultPlan

__all__ = ["Fault", "FaultPlan", "PlanError"]

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "Fault": "faultkit.plan.fault_plan",
        "FaultPlan": "faultkit.plan.fault_plan",
        "PlanError": "faultkit.exceptions",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
