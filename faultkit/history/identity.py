"""Which violation a life of a job came to: the same for its shortest life in every run.

It is told by its verdict, by the faults of the last step that had any (or by what the job did, where none had), and by
the function in which ranks raised.  Not covered: looking it up (`faultkit.known`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from faultkit.history.runner import HistoryRunner
from faultkit.known.entries import Entry, Example, Occurrence
from faultkit.known.identity import Identity, identity_of
from faultkit.known.of_runs import planned_point
from faultkit.known.sorting import Sorted, sort

__all__ = ["identity_of_life", "occurrence_of_life", "sorted_lives"]


def identity_of_life(life: HistoryRunner) -> Identity:
    """Of a life that broke a promise.  Raises ValueError for one that did not."""
    if life.finding is None:
        raise ValueError("identity_of_life: the life must have broken a promise (it did not)")
    steps = [told.step for told in life.told]
    disturbed = [step for step in steps if step.plan]
    if disturbed:
        last = disturbed[-1]
        points = [f"{last.word}: {planned_point(fault)}" for fault in last.plan]
        actions = [str(fault.action) for fault in last.plan]
    else:
        points, actions = [", ".join(dict.fromkeys(step.word for step in steps[1:]))], []
    return identity_of(
        "history", life.finding.verdict, points=points, actions=actions, where=life.finding.where
    )


def occurrence_of_life(life: HistoryRunner, example: Example | None = None) -> Occurrence:
    """The same, as it is looked up."""
    assert life.finding is not None
    return Occurrence(
        identity=identity_of_life(life),
        evidence=life.finding.sentence,
        scenario=str(life.checkpointer),
        example=example,
    )


def sorted_lives(found: Sequence[Occurrence], entries: Sequence[Entry], lived: Example) -> Sorted:
    """What `entries` know of what was `found` in the lives that `lived` says."""

    def covers(_: Entry, example: Example) -> bool:
        same = (example.campaign, example.scenario, example.world, example.seed, example.rules) == (
            lived.campaign,
            lived.scenario,
            lived.world,
            lived.seed,
            lived.rules,
        )
        # after one that nobody knows the others were not lived
        return same and 0 < example.lives <= lived.lives and sort(found, entries).held

    found = [msgspec.structs.replace(one, example=lived) for one in found]
    return sort(found, entries, covers=covers)
