"""What was measured at each size, and what follows from it, as values.

`Scaling.to_json` writes one object:

    {"scenario", "plan", "torch", "at",
     "points": [{"ranks", "verdict", "seconds", "messages", "bytes", "coordinator_bytes",
                 "coordinator_seconds", "engine_seconds",
                 "costs": [{"collective", "calls", "messages", "bytes", "coordinator_bytes",
                            "coordinator_seconds", "engine_seconds"}]}],
     "lines": {measure: [{"collective", "exponent", "low", "high", "last_exponent", "law": {term: coefficient},
                          "predicted", "predicted_low", "predicted_high"}]},
     "blamed": {measure: collective}}
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from faultkit.scale.cost_models import Law, fit_cost_model, sum_of
from faultkit.scale.regression import Line, fit_power_law

__all__ = ["AT_RANKS", "FITTED_COUNT", "MEASURES", "Cost", "Point", "Scaling"]

AT_RANKS = 100_000
AT_RANKS_MAX = 1_000_000_000
FITTED_COUNT = 6  # the largest sizes: on small worlds what is the same for any size hides what grows
WHOLE = "the whole save"
MEASURES = {
    "messages": "messages",
    "bytes": "bytes",
    "coordinator_bytes": "bytes through the coordinator",
    "coordinator_seconds": "CPU seconds of the coordinator",
    "engine_seconds": "CPU seconds of all ranks",
}


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one collective of the engine ("step: operation") cost in one save.

    `coordinator_bytes` is what the coordinator sent and received, `coordinator_seconds` its CPU time,
    `engine_seconds` that of all ranks together.
    """

    collective: str
    calls: int = 0
    messages: int = 0
    bytes: int = 0
    coordinator_bytes: int = 0
    coordinator_seconds: float = 0.0
    engine_seconds: float = 0.0


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One save on `ranks` ranks: what it came to, the wall time in seconds of simulating it, and its costs."""

    ranks: int
    verdict: str
    seconds: float
    costs: tuple[Cost, ...]

    def total(self, measure: str) -> float:
        """The sum over all collectives of one of `MEASURES`."""
        return sum(getattr(cost, measure) for cost in self.costs)

    def value(self, collective: str, measure: str) -> float:
        """That of one collective; 0 where it was not called."""
        if collective == WHOLE:
            return self.total(measure)
        return sum(getattr(cost, measure) for cost in self.costs if cost.collective == collective)


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """`points` by ascending size; `at` is the number of ranks that predictions are for."""

    scenario: str
    plan: str
    torch: str
    points: tuple[Point, ...]
    at: int = AT_RANKS

    @property
    def collectives(self) -> tuple[str, ...]:
        """Every collective that was called, in the order of the calls."""
        return tuple(dict.fromkeys(cost.collective for point in self.points for cost in point.costs))

    def line(self, collective: str, measure: str) -> Line | None:
        """How one of `MEASURES` of a collective grows; None where it is zero or there are too few points."""
        fitted = self.points[-FITTED_COUNT:]
        return fit_power_law(
            [point.ranks for point in fitted], [point.value(collective, measure) for point in fitted]
        )

    def last_exponent(self, collective: str, measure: str) -> float | None:
        """The exponent between the two largest sizes alone; well above that of the line, it is still rising."""
        line = fit_power_law(
            [point.ranks for point in self.points[-2:]],
            [point.value(collective, measure) for point in self.points[-2:]],
        )
        return line.exponent if line is not None else None

    def law(self, collective: str, measure: str) -> Law | None:
        """What one of `MEASURES` of a collective is made of; None where it is zero or there are under three points.

        That of the whole is the sum of its parts' where its own predicts less than one of them: what is small in the
        sum on small worlds is not seen in it, and may be nearly all of it on large ones.
        """
        own = fit_cost_model(
            [point.ranks for point in self.points],
            [point.value(collective, measure) for point in self.points],
            signed=not measure.endswith("seconds"),
        )
        if collective != WHOLE:
            return own
        parts = [law for one in self.collectives if (law := self.law(one, measure)) is not None]
        largest = max(self.at, self.points[-1].ranks) if self.points else self.at
        if parts and (own is None or own.value(largest) < max(law.value(largest) for law in parts)):
            return sum_of(parts)
        return own

    def predicted(self, collective: str, measure: str) -> tuple[float, float, float]:
        """(value, low, high) of a measure on `at` ranks; zeros where there is no law."""
        law = self.law(collective, measure)
        return law.at(self.at) if law is not None else (0.0, 0.0, 0.0)

    def blamed(self, measure: str) -> str:
        """The collective that costs most of `measure` on `at` ranks; empty where nothing was measured."""
        return max(self.collectives, key=lambda one: self.predicted(one, measure)[0], default="")

    def to_builtins(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "plan": self.plan,
            "torch": self.torch,
            "at": self.at,
            "points": [
                {
                    "ranks": point.ranks,
                    "verdict": point.verdict,
                    "seconds": round(point.seconds, 6),
                    **{measure: point.total(measure) for measure in MEASURES},
                    "costs": [msgspec.structs.asdict(cost) for cost in point.costs],
                }
                for point in self.points
            ],
            "lines": {measure: list(self._lines(measure)) for measure in MEASURES},
            "blamed": {measure: self.blamed(measure) for measure in MEASURES},
        }

    def to_json(self) -> str:
        return json.dumps(self.to_builtins(), indent=1) + "\n"

    def _lines(self, measure: str) -> list[dict[str, Any]]:
        found = []
        for collective in (WHOLE, *self.collectives):
            if (line := self.line(collective, measure)) is not None:
                law = self.law(collective, measure)
                value, low, high = self.predicted(collective, measure)
                found.append(
                    {
                        "collective": collective,
                        "exponent": line.exponent,
                        "low": line.low,
                        "high": line.high,
                        "last_exponent": self.last_exponent(collective, measure),
                        "law": dict(law.terms) if law is not None else {},
                        "predicted": value,
                        "predicted_low": low,
                        "predicted_high": high,
                    }
                )
        return found
