"""What a cost is made of: a sum of terms that grow differently with the number of ranks, and what it predicts.

    y = a + b log2(n) + c n + d n^2

A failing save is such a sum: what each rank does once, a tree, a star, and everybody with everybody.  One power fits
it badly, since on small worlds the constant hides the square that decides on large ones.

Guarantees: values are fitted by least squares of their relative errors, with at most three of the terms, and as few as
explain them (Akaike's criterion, corrected for few values: Hurvich and Tsai, 1989).  Counts may have terms below zero,
such as n^2 - n, costs in seconds have not.  The interval is that of 95 in 100 for a law with the square in it, where
the measured sizes do not rule it out: it is wide where they say little of what large worlds cost.  Not covered: other
terms, and what changes with size in a machine, such as caches that overflow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from faultkit.scale.regression import student

__all__ = ["TERMS", "Law", "fit_cost_model", "sum_of"]

TERMS: dict[str, Callable[[float], float]] = {
    "1": lambda ranks: 1.0,
    "log n": math.log2,
    "n": lambda ranks: ranks,
    "n^2": lambda ranks: ranks * ranks,
}
TERM_COUNT_MAX = 3
SQUARE = "n^2"
EXACT_ERROR = 1e-5  # relative, below which values are counted as explained exactly


class Law(msgspec.Struct, frozen=True):
    """`terms` are pairs of a name of `TERMS` and its coefficient; the others are what `at` takes its interval from."""

    terms: tuple[tuple[str, float], ...]
    interval_terms: tuple[tuple[str, float], ...]
    covariance: tuple[tuple[float, ...], ...]
    freedom: int
    largest: float
    parts: tuple[Law, ...] = ()  # whose sum it is; the interval is that of their ends

    def value(self, ranks: float) -> float:
        """What the law gives for so many ranks."""
        return _sum(self.terms, ranks)

    def at(self, ranks: float) -> tuple[float, float, float]:
        """(value, low, high) for so many ranks, at least as many as were measured."""
        value = self.value(ranks)
        if self.parts:
            ends = [part.at(ranks) for part in self.parts]
            return value, math.fsum(low for _, low, _ in ends), math.fsum(high for _, _, high in ends)
        place = np.array([TERMS[name](ranks) for name, _ in self.interval_terms])
        variance = float(place @ np.array(self.covariance) @ place)
        middle = _sum(self.interval_terms, ranks)
        reach = student(self.freedom) * math.sqrt(max(0.0, variance)) if self.freedom else 0.0
        low = min(value, max(middle - reach, self.largest))  # a larger world costs no less
        return value, min(low, value), max(middle + reach, value)


def fit_cost_model(ranks: Sequence[float], values: Sequence[float], *, signed: bool) -> Law | None:
    """The law of (ranks, values), `signed` where terms may be below zero; None for fewer than three above zero."""
    pairs = [(float(x), float(y)) for x, y in zip(ranks, values, strict=True) if x > 0 and y > 0]
    if len(pairs) < 3:
        return None
    best: tuple[float, tuple[str, ...], np.ndarray] | None = None
    for count in range(1, min(TERM_COUNT_MAX, len(pairs) - 2) + 1):
        for names in itertools.combinations(TERMS, count):
            coefficients, error, _ = _fit(pairs, names)
            if coefficients[-1] <= 0 or (not signed and (coefficients < 0).any()):
                continue
            criterion = _criterion(error, len(pairs), count)
            if best is None or criterion < best[0]:
                best = criterion, names, coefficients
    if best is None:
        return None
    _, names, coefficients = best
    wider = tuple(name for name in TERMS if name in names or name == SQUARE)
    if len(wider) >= len(pairs):
        wider = names
    interval, error, design = _fit(pairs, wider)
    freedom = len(pairs) - len(wider)
    covariance = np.linalg.pinv(design.T @ design) * (error / freedom if freedom else 0.0)
    return Law(
        terms=tuple(zip(names, map(float, coefficients), strict=True)),
        interval_terms=tuple(zip(wider, map(float, interval), strict=True)),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        freedom=freedom,
        largest=max(pairs)[1],
    )


def sum_of(laws: Sequence[Law]) -> Law:
    """The law of what costs all that things of these `laws` cost."""
    coefficients = {name: math.fsum(dict(law.terms).get(name, 0.0) for law in laws) for name in TERMS}
    return Law(
        terms=tuple((name, value) for name, value in coefficients.items() if value),
        interval_terms=(),
        covariance=(),
        freedom=0,
        largest=math.fsum(law.largest for law in laws),
        parts=tuple(laws),
    )


def _fit(pairs: list[tuple[float, float]], names: tuple[str, ...]) -> tuple[np.ndarray, float, np.ndarray]:
    """(coefficients, sum of squared relative errors, the design with each row divided by its value)."""
    design = np.array([[TERMS[name](x) / y for name in names] for x, y in pairs])
    scale = np.abs(design).max(axis=0)
    found, *_ = np.linalg.lstsq(design / scale, np.ones(len(pairs)), rcond=None)
    errors = design / scale @ found - 1
    return found / scale, float(errors @ errors), design


def _criterion(error: float, value_count: int, term_count: int) -> float:
    parameters = term_count + 1
    if error <= value_count * EXACT_ERROR**2:
        return -math.inf  # of these the first one, which has the fewest terms
    rest = value_count - parameters - 1
    correction = 2 * parameters * (parameters + 1) / rest if rest > 0 else 1000.0 * parameters
    return value_count * math.log(error / value_count) + 2 * parameters + correction


def _sum(terms: tuple[tuple[str, float], ...], ranks: float) -> float:
    return math.fsum(coefficient * TERMS[name](ranks) for name, coefficient in terms)
