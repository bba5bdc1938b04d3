"""Promise: over many turns of the same work in one life of a rank nothing grows.

LEAKED: a rank has more descriptors, threads, child processes, shared memory, files or memory with each turn.  Each
rank counts after every turn (`faultkit.growth`), and what is told is a slope with its error (`faultkit.checks.slopes`):
a violation only where the slope is beyond its error and beyond a floor, `MEASURES`.  A run in which nothing was counted
breaks nothing.

Not verified: growth that begins late or is below the floor; device memory; and what simulated ranks cannot tell apart
(`faultkit.worlds.simulated.process.resources`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from faultkit.checks.model import RunAnalysis
from faultkit.checks.slopes import Slope, slope_of
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_ranks
from faultkit.runs.run import Run

__all__ = ["EVENT", "MEASURES", "Grown", "Measure", "find", "measure_in", "slopes_in"]

EVENT = "growth"
GLOSS = "a rank has more of it with each turn"
NAMED_COUNT = 5
KIB = 1024.0


class Measure(msgspec.Struct, frozen=True):
    """What is counted: `words` for more than one of it, and the growth per turn that may be.

    Growth of less than `least` in the whole run may be, too.
    """

    words: str
    floor: float
    least: float = 0.0
    is_bytes: bool = False
    is_memory: bool = False  # of one leak several of these grow: the first of them is told


MEASURES: dict[str, Measure] = {
    "descriptors": Measure("descriptors", 0.05),
    "threads": Measure("threads", 0.05),
    "children": Measure("child processes", 0.05),
    "shared_memory": Measure("shared memories", 0.05),
    "temporary_files": Measure("temporary files", 0.05),
    "files": Measure("files of checkpoints", 0.05),
    "file_bytes": Measure("files of checkpoints", 1 * KIB, is_bytes=True),
    "memory": Measure("memory", 3 * KIB, is_bytes=True, is_memory=True),
    "resident": Measure("resident memory", 2 * KIB, 256 * KIB, is_bytes=True, is_memory=True),
}


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """How one of `MEASURES` went on a rank over so many turns; `first` is after the warm-up, `last` at the end.

    `turn` says what a turn is in one word, such as "save"; `names` say what there is at the end and was not after the
    warm-up, where that can be seen.
    """

    measure: str
    rank: int
    turn: str
    turns: int
    slope: Slope
    first: int
    last: int
    names: tuple[str, ...] = ()

    @property
    def is_violation(self) -> bool:
        measure = MEASURES[self.measure]
        return self.slope.is_beyond(measure.floor) and self.last - self.first >= measure.least

    @property
    def text(self) -> str:
        """``0.98 +- 0.03 descriptors``."""
        measure = MEASURES[self.measure]
        if measure.is_bytes:
            estimate, error = (number / KIB for number in (self.slope.estimate, self.slope.error))
            return f"{estimate:.2f} +- {error:.2f} KiB of {measure.words}"
        return f"{self.slope.estimate:.2f} +- {self.slope.error:.2f} {measure.words}"


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    told = [one for one in slopes_in(analysis.run) if one.is_violation]
    has_memory: set[int] = set()
    for name, measure in MEASURES.items():
        grown = [one for one in told if one.measure == name]
        if measure.is_memory:
            grown = [one for one in grown if one.rank not in has_memory]
            has_memory |= {one.rank for one in grown}
        if not grown:
            continue
        by_text: dict[str, list[Grown]] = {}
        for one in grown:
            by_text.setdefault(one.text, []).append(one)
        turn = grown[0].turn
        parts = [
            f"{text} per {turn} on {name_ranks(one.rank for one in same)}" for text, same in by_text.items()
        ]
        evidence = f"{', '.join(parts)} ({grown[0].turns} {turn}s){_named(grown)}"
        yield Violation("growth", Verdict.LEAKED, evidence, tuple(one.rank for one in grown), GLOSS)


def measure_in(violation: Violation) -> str:
    """What grows, in the words of `MEASURES`; empty for a violation of another check."""
    if violation.check != "growth":
        return ""
    words = violation.evidence.partition(" per ")[0].split(" ", 3)[3]
    return words.removeprefix("KiB of ")


def slopes_in(run: Run) -> tuple[Grown, ...]:
    """How all that the ranks of `run` counted went, by rank and measure; () where nothing was counted."""
    found = []
    for event in sorted(run.events, key=lambda event: event.rank):
        if event.kind != EVENT or not isinstance(event.data, dict):
            continue
        warm_up = int(event.data.get("warm_up", 0))
        samples: Mapping[str, Any] = event.data.get("samples", {})
        names: Mapping[str, Any] = event.data.get("names", {})
        for measure in MEASURES:
            counts = list(samples.get(measure, ()))
            slope = slope_of(counts, warm_up)
            if slope is not None:
                found.append(
                    Grown(
                        measure=measure,
                        rank=event.rank,
                        turn=str(event.data.get("turn", "turn")),
                        turns=len(counts),
                        slope=slope,
                        first=counts[warm_up],
                        last=counts[-1],
                        names=tuple(map(str, names.get(measure, ()))),
                    )
                )
    return tuple(found)


def _named(grown: list[Grown]) -> str:
    names = list(dict.fromkeys(name for one in grown for name in one.names))
    if not names:
        return ""
    more = f" and {len(names) - NAMED_COUNT} more" if len(names) > NAMED_COUNT else ""
    return f": {', '.join(clip(name, 120) for name in names[:NAMED_COUNT])}{more}"
