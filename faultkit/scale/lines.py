"""A power law through measured values: least squares on logarithms, with an interval, and what it predicts.

    y = factor * ranks ** exponent

The intervals are those of ordinary linear regression: 95 in 100 if the logarithms scatter evenly around a line.
Counts that are exact hardly scatter; their interval then tells how far the counts are from a pure power.  Left
out: sums of several powers, of which the largest wins on large worlds only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

__all__ = ["Line", "line_through"]

# The 97.5 % quantile of Student's distribution for 1, 2, ... degrees of freedom (any table of statistics).
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
STUDENT_MANY = 2.0


class Line(msgspec.Struct, frozen=True):
    """`exponent` lies between `low` and `high`; all three are equal where two points leave nothing to judge by."""

    exponent: float
    low: float
    high: float
    factor: float
    count: int
    mean_log: float
    spread: float
    scatter: float

    def at(self, ranks: float) -> tuple[float, float, float]:
        """The value on so many ranks, and the interval in which one measured there would lie: (value, low, high)."""
        if self.factor == 0.0:
            return 0.0, 0.0, 0.0
        place = math.log(ranks)
        middle = math.log(self.factor) + self.exponent * place
        reach = 0.0
        if self.count > 2:
            distance = (place - self.mean_log) ** 2 / self.spread
            reach = _student(self.count - 2) * self.scatter * math.sqrt(1 + 1 / self.count + distance)
        return tuple(_exp(middle + step) for step in (0.0, -reach, reach))  # type: ignore[return-value]


def line_through(ranks: Sequence[float], values: Sequence[float]) -> Line | None:
    """The line through (ranks, values); None for fewer than two points above zero.

    Points whose value is not above zero are left out.  Raises ValueError where the lengths differ.
    """
    pairs = [(math.log(x), math.log(y)) for x, y in zip(ranks, values, strict=True) if x > 0 and y > 0]
    count = len(pairs)
    mean_x = math.fsum(x for x, _ in pairs) / count if count else 0.0
    mean_y = math.fsum(y for _, y in pairs) / count if count else 0.0
    spread = math.fsum((x - mean_x) ** 2 for x, _ in pairs)
    if count < 2 or spread == 0.0:
        return None
    exponent = math.fsum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread
    start = mean_y - exponent * mean_x
    reach = scatter = 0.0
    if count > 2:
        left = math.fsum((y - start - exponent * x) ** 2 for x, y in pairs)
        scatter = math.sqrt(left / (count - 2))
        reach = _student(count - 2) * scatter / math.sqrt(spread)
    return Line(exponent, exponent - reach, exponent + reach, _exp(start), count, mean_x, spread, scatter)


def _student(freedom: int) -> float:
    return STUDENT[freedom - 1] if freedom <= len(STUDENT) else STUDENT_MANY


def _exp(power: float) -> float:
    return math.exp(min(power, 700.0))
