"""The picture of a failure: what each rank shows, in words that evidence and a run have in common, and likeness.

Guarantees: likeness is from 0 to 1, 1 only where every rank that the evidence tells of shows the same; a rank of which
it says nothing takes no part.  Not covered: making a run (`faultkit.evidence.trying`).
"""

from __future__ import annotations

import msgspec

from faultkit.evidence.consequences import is_consequence
from faultkit.evidence.values import Error, Evidence, Origin, RankEvidence
from faultkit.runs.outcomes import Died, Hung, Outcome, Raised
from faultkit.runs.run import Run

__all__ = ["Shown", "likeness", "picture_of_evidence", "picture_of_run"]

RAISED, DIED, LOST, RETURNED = "raised", "died", "lost", "returned"


class Shown(msgspec.Struct, frozen=True):
    """What one rank shows: how it ended, the type of what it raised or the signal, and which ranks failed by what, as a
    CheckpointException tells it.  "lost" is one that only waited, was ended by the launcher, or heard that
    another is gone.
    """

    kind: str
    type_name: str = ""
    failures: tuple[tuple[int, str], ...] = ()


def picture_of_evidence(evidence: Evidence) -> dict[int, Shown]:
    """The picture that a cluster left."""
    return {rank: shown for rank, one in evidence.ranks.items() if (shown := _of_rank(one)) is not None}


def _of_rank(one: RankEvidence) -> Shown | None:
    if one.kind == "unknown":
        return None
    if one.error is not None and one.error.type_name and not is_consequence(one.error):
        return _raised(one.error)
    if one.kind == "died" and one.exit is not None and not one.exit.by_launcher:
        return Shown(DIED, one.exit.signal or f"exit({one.exit.exitcode})")
    return Shown(RETURNED) if one.kind == "returned" else Shown(LOST)


def _raised(error: Error) -> Shown:
    failures = tuple(sorted((rank, failed.type_name) for rank, failed in error.failures.items()))
    return Shown(RAISED, error.type_name, failures)


def picture_of_run(run: Run) -> dict[int, Shown]:
    """The picture of a run."""
    return {rank: _of_outcome(outcome) for rank, outcome in run.outcomes.items()}


def _of_outcome(outcome: Outcome) -> Shown:
    if isinstance(outcome, Hung) or (isinstance(outcome, Died) and outcome.by):
        return Shown(LOST)
    if isinstance(outcome, Died):
        return Shown(DIED, outcome.signal or f"exit({outcome.exitcode})")
    if not isinstance(outcome, Raised):
        return Shown(RETURNED)
    if is_consequence(Error(outcome.type_name, outcome.message, Origin("run"))):
        return Shown(LOST)
    failures = outcome.failures or {}
    return Shown(
        RAISED,
        outcome.type_name,
        tuple(sorted((rank, failed[0]) for rank, failed in failures.items())),
    )


def likeness(evidence: dict[int, Shown], run: dict[int, Shown]) -> float:
    """How alike two pictures are; 0 where they have no rank in common."""
    ranks = sorted(set(evidence) & set(run))
    if not ranks:
        return 0.0
    return sum(_alike(evidence[rank], run[rank]) for rank in ranks) / len(ranks)


def _alike(one: Shown, other: Shown) -> float:
    if one.kind != other.kind:
        return 0.0
    if one.kind in (LOST, RETURNED):
        return 1.0
    if one.type_name != other.type_name:
        return 0.5
    if dict(one.failures).keys() != dict(other.failures).keys():
        return 0.6
    if not one.failures:
        return 1.0
    theirs = dict(other.failures)
    same = sum(theirs[rank] == name for rank, name in one.failures)
    return 0.8 + 0.2 * same / len(one.failures)
