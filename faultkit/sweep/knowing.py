"""What is known of the violations of a sweep: how each is looked up, and what a sweep would have shown.

Guarantees: an entry is said to be gone only where its plan ran, on such ranks, with its check, and its fault fired.
Not covered: entries and how they are sorted (`faultkit.known`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from faultkit.checks import CATALOGUE, Verdict
from faultkit.known.entries import Entry, Example, Occurrence
from faultkit.known.sorting import sort
from faultkit.sweep.results import Journal
from faultkit.worlds.kinds import KINDS

__all__ = ["occurrences", "sorted_by"]


def sorted_by(journal: Journal, entries: Sequence[Entry]) -> Journal:
    """`journal` with what `entries` know of it."""
    ran = {str(result.plan) for result in journal.results if result.verdict is not Verdict.INERT}
    if journal.was_tried_unbroken:
        ran.add("")
    chosen = set(journal.chosen.names(tuple(CATALOGUE)))

    def covers(entry: Entry, example: Example) -> bool:
        same = (example.campaign, example.scenario, example.world) == (
            "sweep",
            journal.scenario,
            journal.world_size,
        )
        return (
            same
            and _follows_schedules(example.kind) == _follows_schedules(journal.kind)
            and example.plan in ran
            and all(check in chosen for pattern in entry.patterns for check in pattern.check)
        )

    return msgspec.structs.replace(journal, sorted=sort(occurrences(journal), entries, covers=covers))


def occurrences(journal: Journal) -> tuple[Occurrence, ...]:
    """Every violation of every plan, as it is looked up."""
    return tuple(
        Occurrence(
            identity=identity,
            evidence=violation.evidence,
            scenario=journal.scenario,
            example=Example(
                campaign="sweep",
                scenario=journal.scenario,
                world=journal.world_size,
                kind=result.kind or journal.kind,
                plan=str(result.plan),
                seed=result.order.seed,
            ),
        )
        for result in journal.results
        for violation, identity in zip(result.violations, result.identities, strict=True)
    )


def _follows_schedules(kind: str) -> bool:
    return kind in KINDS and KINDS[kind].follows_schedules
