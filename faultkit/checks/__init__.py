"""What must hold: one promise per module, examined on a finished run; a violation comes with its evidence.

`examine` reads a run (plan, outcomes and events of all ranks), works out from what fired what every rank
should have seen (`faultkit.checks.model`), and holds each promise of the catalogue against it.  Which
promises there are, and what each of them does not verify, stands in its module and in ``docs/checks.md``.
Nothing here imports torch, runs anything or raises on an odd run: where a rank left nothing behind, nothing
is claimed about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator

import msgspec

from faultkit.checks import (
    agreement,
    application,
    atomicity,
    attribution,
    cause,
    coverage,
    durable,
    fired,
    growth,
    intact,
    leaks,
    liveness,
    parity,
    recovery,
    replicas,
    resume,
    same,
    settled,
    snapshot,
    unread,
)
from faultkit.checks.analysis import account_of, analyse
from faultkit.checks.model import RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation, meaning_of, verdict_of
from faultkit.messages import WORD_LENGTH_MAX, shown
from faultkit.runs.run import Run

__all__ = [
    "CATALOGUE",
    "DEFAULT",
    "Account",
    "Check",
    "RunAnalysis",
    "Verdict",
    "Violation",
    "account_of",
    "analyse",
    "examine",
    "meaning_of",
    "named",
    "verdict_of",
]


Account = RunAnalysis  # the earlier name, as `account_of` is that of `analyse`


class Check(msgspec.Struct, frozen=True):
    """One promise: `find` takes the analysis of a run and yields each violation of it."""

    name: str
    promise: str
    verdicts: tuple[Verdict, ...]
    find: Callable[[RunAnalysis], Iterator[Violation]]


CATALOGUE: dict[str, Check] = {
    check.name: check
    for check in (
        Check("fired", "every planned fault fired", (Verdict.INERT,), fired.find),
        Check(
            "liveness",
            "every live rank returns within the deadline, not at the process group's timeout",
            (Verdict.HUNG, Verdict.DIED, Verdict.LATE),
            liveness.find,
        ),
        Check(
            "agreement",
            "all ranks tell the same story of the same attempt",
            (Verdict.PARTIAL, Verdict.MISATTRIBUTED),
            agreement.find,
        ),
        Check(
            "attribution",
            "every rank learns which ranks failed: exactly those on which a fault fired in the failing step",
            (Verdict.PARTIAL, Verdict.MISATTRIBUTED),
            attribution.find,
        ),
        Check(
            "cause",
            "type, message and errno of the injected error reach every rank",
            (Verdict.MASKED,),
            cause.find,
        ),
        Check(
            "intact",
            "after a failed save the previous checkpoint still loads bit for bit, or the place is recognisably "
            "incomplete",
            (Verdict.SILENT_WRONG, Verdict.LOST_WORK, Verdict.HUNG, Verdict.DIED),
            intact.find,
        ),
        Check(
            "durable",
            "a save that reported success loads bit for bit in a fresh process, now and later",
            (Verdict.SILENT_WRONG, Verdict.LOST_WORK),
            durable.find,
        ),
        Check(
            "same",
            "what was saved is the same for every reader of its format",
            (Verdict.SILENT_WRONG, Verdict.LOST_WORK),
            same.find,
        ),
        Check(
            "settled",
            "every future and handle of an asynchronous save completes, and tells the truth about what is on disk",
            (Verdict.LOST_WORK, Verdict.HUNG, Verdict.PARTIAL, Verdict.MASKED),
            settled.find,
        ),
        Check(
            "snapshot",
            "an asynchronous save holds the state of the moment it was called, whatever the job did to it after",
            (Verdict.SILENT_WRONG,),
            snapshot.find,
        ),
        Check(
            "replicas",
            "what a save stores once for all ranks is the same on every rank that gives it",
            (Verdict.SILENT_WRONG,),
            replicas.find,
        ),
        Check(
            "coverage",
            "a load fills every element that it was asked for, or raises",
            (Verdict.SILENT_WRONG,),
            coverage.find,
        ),
        Check(
            "atomicity",
            "a load that failed leaves what it loads into as it was, or its error says that it does not",
            (Verdict.SILENT_WRONG,),
            atomicity.find,
        ),
        Check(
            "application",
            "after a load the application holds what the checkpoint holds",
            (Verdict.SILENT_WRONG,),
            application.find,
        ),
        Check(
            "unread",
            "what a checkpoint holds is asked for by a rank that loads it",
            (Verdict.LOST_WORK,),
            unread.find,
        ),
        Check(
            "recovery",
            "work in which no fault made an error succeeds, also the attempts after a failed one",
            (Verdict.SILENT_WRONG, Verdict.LOST_WORK, Verdict.UNUSABLE),
            recovery.find,
        ),
        Check(
            "parity",
            "every rank's sequence of collectives is the same up to the failure",
            (Verdict.SILENT_WRONG, Verdict.HUNG, Verdict.DIED, Verdict.UNUSABLE),
            parity.find,
        ),
        Check(
            "resume",
            "a job that is killed and resumed goes on as if nothing had happened",
            (Verdict.SILENT_WRONG, Verdict.LOST_WORK),
            resume.find,
        ),
        Check(
            "leaks",
            "no thread, descriptor, child process, shared memory or temporary file outlives the run",
            (Verdict.LEAKED,),
            leaks.find,
        ),
        Check(
            "growth",
            "over many turns of the same work in one life of a rank nothing grows",
            (Verdict.LEAKED,),
            growth.find,
        ),
    )
}

DEFAULT: tuple[str, ...] = tuple(CATALOGUE)


def examine(
    run: Run, checks: Iterable[str | Check] = DEFAULT, *, may_not_fire: bool = False
) -> tuple[Violation, ...]:
    """Every broken promise of `run`, worst first; () if all hold.

    `run` is a `faultkit.Run`, or what has its attributes.  `checks` are names of the catalogue or `Check`
    values; `may_not_fire` leaves out the check ``fired``.  Raises ValueError for an unknown name.
    """
    chosen = [named(one) for one in ([checks] if isinstance(checks, str | Check) else checks)]
    analysis = analyse(run)
    found = [
        violation
        for check in chosen
        if not (may_not_fire and check.name == "fired")
        for violation in check.find(analysis)
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda violation: violation.verdict.severity))


def named(one: str | Check) -> Check:
    """The check of that name, or the check itself.  Raises ValueError, which tells the nearest name there is."""
    if isinstance(one, Check):
        return one
    if not isinstance(one, str) or one not in CATALOGUE:
        near = difflib.get_close_matches(str(one)[:WORD_LENGTH_MAX], CATALOGUE, n=1, cutoff=0.0)
        raise ValueError(
            f"check must be one of {', '.join(CATALOGUE)} (got {shown(one)}); did you mean {near[0]!r}?"
        )
    return CATALOGUE[one]
