"""How the engine's handling of a failure grows with the number of ranks.

    scaling = scale.measure("dcp-save", sizes=scale.doubled(2, 256))
    scaling.points[-1].costs          # what each collective of the failing save cost on 256 ranks
    scaling.blamed("bytes")           # the one that will move most through the coordinator on 100,000

A failing save runs on simulated worlds of more and more ranks.  Each rank counts what its collectives send, and
what they cost in CPU time; a line through the logarithms says how that grows, and what it comes to on a world
that nobody can run here.  What is measured and what is worked out: see `faultkit.scale.traffic_counter`.
"""

from __future__ import annotations

from faultkit.scale.cost_models import Law, fit_cost_model
from faultkit.scale.measuring import DEFAULT_PLAN, SIZE_MAX, doubled, measure, require_at
from faultkit.scale.regression import Line, fit_power_law
from faultkit.scale.scaling import AT_RANKS, Cost, Point, Scaling

__all__ = [
    "AT_RANKS",
    "DEFAULT_PLAN",
    "SIZE_MAX",
    "Cost",
    "Growth",
    "Law",
    "Line",
    "Point",
    "Scaling",
    "doubled",
    "fit_cost_model",
    "fit_power_law",
    "law_of",
    "line_through",
    "measure",
    "require_at",
]

Growth, law_of, line_through = Scaling, fit_cost_model, fit_power_law  # earlier names
