"""Promise: all ranks tell the same story of the same attempt.

Compared are the ranks that lived through the attempt, without those that a fault killed or stopped: either
all of them succeeded or all of them raised (else PARTIAL), and every ``CheckpointException`` among them names
the same step and the same ranks (else MISATTRIBUTED).  After a planned death the errors may differ in text,
since each rank notices a broken connection in its own place.

Not verified: what a rank returned, an attempt that has no end on a rank which returned all the same (an
asynchronous save that nobody waited for), and errors of the application's own code that no fault made.
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.checks.model import Attempt, Observation, RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import name_error, name_ranks, plural

__all__ = ["find"]


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    for attempt in analysis.everything:
        yield from _mixed(analysis, attempt)
        yield from _different(analysis, attempt)


def _survivors(analysis: RunAnalysis, attempt: Attempt, kind: str) -> list[Observation]:
    return [seen for seen in attempt.seen(kind) if seen.rank not in analysis.lost_ranks]


def _mixed(analysis: RunAnalysis, attempt: Attempt) -> Iterator[Violation]:
    raised = _survivors(analysis, attempt, "raised")
    if not attempt.number:
        raised = [seen for seen in raised if _engines_to_tell(analysis, attempt, seen)]
    returned = _survivors(analysis, attempt, "returned")
    if not raised or not returned:
        return
    unaware = tuple(seen.rank for seen in returned)
    first = raised[0]
    where = "before it" if all(seen.is_absent for seen in raised) else "in it"
    yield Violation(
        "agreement",
        Verdict.PARTIAL,
        f"{name_ranks(unaware)} took {attempt.label} for a success and never learned that "
        f"{name_ranks(seen.rank for seen in raised)} failed {where}; rank {first.rank} raised "
        f"{name_error(first.error)}",
        unaware,
    )


def _engines_to_tell(analysis: RunAnalysis, attempt: Attempt, seen: Observation) -> bool:
    """Whether an error outside of every attempt comes from a fault, and not from the application alone."""
    if seen.rank not in analysis.unexplained or attempt.errors:
        return True
    return bool(analysis.lost_ranks) and analysis.unexplained[seen.rank].type_name != "AssertionError"


def _different(analysis: RunAnalysis, attempt: Attempt) -> Iterator[Violation]:
    stories: dict[str, list[int]] = {}
    for seen in _survivors(analysis, attempt, "raised"):
        if seen.error is not None and seen.error.failures:
            named = name_ranks(seen.error.failures)
            step = f" in step {seen.error.step!r}" if seen.error.step else ""
            stories.setdefault(f"{named} failed{step}", []).append(seen.rank)
    if len(stories) > 1:
        told = "; ".join(f"{name_ranks(ranks)} {plural(ranks, 'was', 'were')} told that {story}"
                         for story, ranks in stories.items())  # fmt: skip
        ranks = tuple(sorted(rank for ranks in stories.values() for rank in ranks))
        evidence = f"the stories of {attempt.label} differ: {told}"
        yield Violation("agreement", Verdict.MISATTRIBUTED, evidence, ranks)
