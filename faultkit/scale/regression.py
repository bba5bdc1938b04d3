"""A power law through measured values: least squares on logarithms, with an interval.

    y = factor * ranks ** exponent

The intervals are those of ordinary linear regression: 95 in 100 if the logarithms scatter evenly around a line.
Counts that are exact hardly scatter; their interval then tells how far the counts are from a pure power.  Left
out: sums of several powers, and predictions, which need them (`faultkit.scale.cost_models`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

__all__ = ["Line", "fit_power_law", "student"]

# The 97.5 % quantile of Student's distribution for 1, 2, ... degrees of freedom (any table of statistics): neither
# `statistics` nor numpy has it, and scipy is not needed for anything else.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
STUDENT_MANY = 2.0


class Line(msgspec.Struct, frozen=True):
    """`exponent` lies between `low` and `high`; all three are equal where two points leave nothing to judge by."""

    exponent: float
    low: float
    high: float


def fit_power_law(ranks: Sequence[float], values: Sequence[float]) -> Line | None:
    """The line through (ranks, values); None for fewer than two points above zero.

    Points whose value is not above zero are left out.  Raises ValueError where the lengths differ.
    """
    pairs = [(math.log(x), math.log(y)) for x, y in zip(ranks, values, strict=True) if x > 0 and y > 0]
    if len({x for x, _ in pairs}) < 2:
        return None
    xs, ys = zip(*pairs, strict=True)
    exponent, start = statistics.linear_regression(xs, ys)
    reach, freedom = 0.0, len(pairs) - 2
    if freedom:
        left = math.fsum((y - start - exponent * x) ** 2 for x, y in pairs)
        reach = student(freedom) * math.sqrt(left / freedom / (statistics.pvariance(xs) * len(xs)))
    return Line(exponent, exponent - reach, exponent + reach)


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's distribution for so many degrees of freedom."""
    return STUDENT[freedom - 1] if freedom <= len(STUDENT) else STUDENT_MANY
