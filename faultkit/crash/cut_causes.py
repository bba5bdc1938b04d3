"""Which violations that lost nothing are one cause: what a kill left, and power cuts that left the same.

Nothing tells them apart but where they were cut and what the load made of them.  Guarantees: violations are one cause
only where verdict and phase are the same, and which leaves are new, old or wrong; and of those only where they follow
each other with no other state between, or where the last thing done was to files of the same name but for its numbers.
So a mix of the shards of two saves is another cause than one of new shards and an old file beside them, and that
again another before and after the rename that commits.  Leaves that are told apart by numbers alone, as the shards of
several ranks are, count as one; where such a one is both new and old, it alone tells the mix.

Not covered: finding out whether one mistake of the engine is behind two of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from faultkit.crash.enumeration.state import LOST_WORK, Judgement, Witness
from faultkit.crash.rendering import without_numbers

__all__ = ["Cut", "Levels", "cut_of", "leaves_of", "split"]

Level = tuple[int, int]  # operations done; units of the last one that are not there, as a negative number


class Cut(NamedTuple):
    """Where a state was cut that lost nothing, and what the load made of it."""

    phase: str
    verdict: str
    leaves: tuple[str, ...]
    level: Level
    files: str


def cut_of(witness: Witness, judgement: Judgement, path: str) -> Cut:
    """`path` is what the last operation done changed, or made."""
    return Cut(
        witness.phase, judgement.verdict, leaves_of(judgement), level_of(witness), without_numbers(path)
    )


def level_of(witness: Witness) -> Level:
    return len(witness.done), -len(witness.lost)


class Levels:
    """How far the states had come that were judged, whatever came of them."""

    def __init__(self) -> None:
        self._seen: set[Level] = set()

    def add(self, witness: Witness) -> None:
        self._seen.add(level_of(witness))

    def places(self) -> dict[Level, int]:
        return {level: place for place, level in enumerate(sorted(self._seen))}


def split(cuts: Iterable[Cut], levels: Levels) -> Iterator[list[Cut]]:
    """`cuts` by cause."""
    places = levels.places()
    alike: dict[tuple[object, ...], list[Cut]] = {}
    for cut in sorted(cuts):
        alike.setdefault(cut[:3], []).append(cut)
    for some in alike.values():
        runs: list[list[Cut]] = []
        for cut in some:
            if runs and places[cut.level] - places[runs[-1][-1].level] <= 1:
                runs[-1].append(cut)
            else:
                runs.append([cut])
        while runs:
            cause = runs.pop(0)
            files = {cut.files for cut in cause}
            while more := [run for run in runs if not files.isdisjoint(cut.files for cut in run)]:
                for run in more:
                    runs.remove(run)
                    cause += run
                    files |= {cut.files for cut in run}
            yield cause


def leaves_of(judgement: Judgement) -> tuple[str, ...]:
    """What tells one mix from another: leaves that are wrong, or both new and old, else each with its side."""
    sides: dict[str, set[str]] = {}
    for told in judgement.sides:
        side, _, leaf = told.partition(" ")
        sides.setdefault(leaf, set()).add(side)
    wrong = tuple(leaf for leaf, of_leaf in sides.items() if "wrong" in of_leaf)
    both = tuple(leaf for leaf, of_leaf in sides.items() if len(of_leaf) > 1)
    lost = (LOST_WORK,) if judgement.type_name == LOST_WORK else ()
    return wrong or both or lost or judgement.sides
