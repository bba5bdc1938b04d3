"""The slope of a count that was taken again and again, with its error: Theil and Sen's, through medians of blocks.

    samples -> the warm-up is left out -> up to 15 blocks, the median of each -> the median of the slopes of all pairs

Guarantees: what happens once or twice (a table that doubles, a library that is loaded late), what comes and goes, and
what is spread around a constant, has a slope whose interval holds 0; what grows in every block has not.  The interval
is Sen's (1968), from the distribution of Kendall's statistic: 99.9 in 100 where blocks do not depend on each other.
Not covered: growth that begins late, is rarer than once in a block, or slows down, which is told by less than it was.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

__all__ = ["BLOCK_COUNT_MAX", "SAMPLES_MIN", "Slope", "slope_of"]

BLOCK_COUNT_MAX = 15
SAMPLES_MIN = 20  # after the warm-up: ten blocks of two
NORMAL = 3.291  # the quantile of the normal distribution for 99.9 %


class Slope(msgspec.Struct, frozen=True):
    """`estimate` per sample lies between `low` and `high`."""

    estimate: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2

    def is_beyond(self, floor: float) -> bool:
        """Whether it grows by more than `floor` anywhere in its interval."""
        return self.low > max(floor, 0.0)


def slope_of(samples: Sequence[float], warm_up: int = 0) -> Slope | None:
    """The slope of `samples` without the first `warm_up`; None for fewer than `SAMPLES_MIN` that are left."""
    kept = samples[warm_up:]
    if len(kept) < SAMPLES_MIN:
        return None
    count = min(BLOCK_COUNT_MAX, len(kept) // 2)
    edges = [place * len(kept) // count for place in range(count + 1)]
    spans = [(edges[place], edges[place + 1]) for place in range(count)]
    times = [(low + high - 1) / 2 for low, high in spans]
    values = [statistics.median(kept[low:high]) for low, high in spans]
    slopes = sorted(
        (values[later] - values[one]) / (times[later] - times[one])
        for one in range(count)
        for later in range(one + 1, count)
    )
    reach = NORMAL * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    left_out = max(0, math.floor((len(slopes) - reach) / 2))
    return Slope(statistics.median(slopes), slopes[left_out], slopes[len(slopes) - 1 - left_out])
