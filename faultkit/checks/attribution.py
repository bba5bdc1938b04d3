"""Promise: every rank learns which ranks failed: exactly those on which a fault fired in the failing step.

Which ranks those are follows from what fired and from the engine's rule, see `faultkit.checks.model`.
MISATTRIBUTED: a ``CheckpointException`` names other ranks or another step, or a rank of an engine's attempt
raised an error that names no rank at all.  PARTIAL: an error fired, was not handled, and no rank was told:
all of them say that the attempt succeeded; also where a rank died or stopped for good inside a step in which
all others succeeded, be it after the last collective of that step.

Not verified: that names are told in attempts that lost a rank to a planned death or stop, since the engine
promises none then, and of errors outside of the engine's rule (raised by a collective, or outside of every step),
about which the engine cannot tell the others: there only an injected error under the name of a rank on which it
was not injected is a violation; and whether an error that counts as handled was handled rightly: a later call of the
same point in the same step that came back well is taken for a retry, even if it did other work.
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.checks.effects import Injected
from faultkit.checks.model import Attempt, RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import name_error, name_fired, name_ranks, plural, spans
from faultkit.plan.action_spec import LIMIT

__all__ = ["find"]


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    for attempt in analysis.everything:
        yield from _told_to_nobody(analysis, attempt)
        yield from _lost_in_silence(analysis, attempt)
        if not analysis.lost_ranks and (not attempt.unreportable or attempt.op == "run"):
            yield from _wrong_names(attempt)
        else:
            yield from _of_another_rank(attempt)
        yield from _limit_of_another_rank(analysis, attempt)


def _all_returned(analysis: RunAnalysis, attempt: Attempt) -> tuple[int, ...]:
    """The surviving ranks if each of them took the attempt for a success, else ()."""
    seen = [attempt.observations[rank] for rank in analysis.survivors(attempt)]
    if seen and all(one.kind == "returned" for one in seen):
        return tuple(one.rank for one in seen)
    return ()


def _told_to_nobody(analysis: RunAnalysis, attempt: Attempt) -> Iterator[Violation]:
    unaware = _all_returned(analysis, attempt)
    hidden = [s for s in attempt.errors if not s.handled and s.rank not in analysis.lost_ranks]
    if not unaware or not hidden:
        return
    named = dict.fromkeys(name_fired(fired_fault.fired) for fired_fault in hidden)
    faults = " and ".join(named)
    yield Violation(
        "attribution",
        Verdict.PARTIAL,
        f"{faults} {'was' if len(named) == 1 else 'were'} reported to nobody: {name_ranks(unaware)} "
        f"{plural(unaware, 'says', 'say')} that {attempt.label} succeeded",
        unaware,
        "no rank learned of the failure",
    )


def _lost_in_silence(analysis: RunAnalysis, attempt: Attempt) -> Iterator[Violation]:
    unaware = _all_returned(analysis, attempt)
    for fired_fault in attempt.fired_faults:
        down = analysis.lost_ranks.get(fired_fault.rank)
        is_cause = (
            down is not None and down.fired == fired_fault.fired
        )  # a delay before it has not lost the rank
        if unaware and is_cause and fired_fault.step is not None:
            yield Violation(
                "attribution",
                Verdict.PARTIAL,
                f"rank {fired_fault.rank} was lost to {name_fired(fired_fault.fired)}, and yet {name_ranks(unaware)} "
                f"{plural(unaware, 'says', 'say')} that {attempt.label} succeeded",
                unaware,
            )


def _wrong_names(attempt: Attempt) -> Iterator[Violation]:
    failed_ranks, recovered_ranks, step = (
        set(attempt.failed_ranks),
        set(attempt.recovered_ranks),
        attempt.step,
    )
    if not failed_ranks and attempt.op == "run":  # an engine without steps: whoever failed must be named
        failed_ranks = {fired_fault.rank for fired_fault in attempt.unreportable}
    if not failed_ranks:
        return
    wrong: dict[str, list[int]] = {}
    for seen in attempt.seen("raised"):
        error = seen.error
        if error is None or seen.is_absent:
            continue
        if not error.failures:
            if step is not None:
                wrong.setdefault(f"got {name_error(error)}, which names no rank", []).append(seen.rank)
            continue
        named = set(error.failures)
        due = {attempt.rank_in_group(rank) for rank in failed_ranks}
        allowed = due | {attempt.rank_in_group(rank) for rank in recovered_ranks}
        if not due <= named <= allowed or (step and error.step and error.step != step):
            wrong.setdefault(f"learned of {name_error(error)}", []).append(seen.rank)
    where = f" in step {step!r}" if step else ""
    if any(attempt.rank_in_group(rank) != rank for rank in failed_ranks):
        where += (
            f", numbered {spans(map(attempt.rank_in_group, failed_ranks))} in the group of {attempt.label}"
        )
    for told, ranks in wrong.items():
        yield Violation(
            "attribution",
            Verdict.MISATTRIBUTED,
            f"expected of {attempt.label}: {name_ranks(failed_ranks)} failed{where}; "
            f"seen: {name_ranks(ranks)} {told}",
            tuple(ranks),
        )


def _of_another_rank(attempt: Attempt) -> Iterator[Violation]:
    """An injected error that is told as that of a rank on which it was not injected."""
    struck = [(fired_fault.rank, Injected.by(fired_fault.fired.fault)) for fired_fault in attempt.errors]
    yield from _misplaced(attempt, struck)


def _limit_of_another_rank(analysis: RunAnalysis, attempt: Attempt) -> Iterator[Violation]:
    """The same of a limit, which lasts from attempt to attempt, and of which its error number is told at least."""
    limits = [
        (one.rank, Injected.by(one.fired.fault).errno) for one in analysis.fired_faults if one.effect == LIMIT
    ]
    yield from _misplaced(attempt, [(rank, Injected((), (), number, native=True)) for rank, number in limits])


def _misplaced(attempt: Attempt, struck: list[tuple[int, Injected]]) -> Iterator[Violation]:
    wrong: dict[tuple[int, tuple[int, ...], str], list[int]] = {}
    for seen in attempt.seen("raised"):
        for place, failure in ((seen.error and seen.error.failures) or {}).items():
            named = attempt.members[place] if place < len(attempt.members) else place
            of = {rank for rank, injected in struck if injected.same_as(failure)}
            if of and named not in of:
                key = (named, tuple(sorted(of)), name_error(seen.error))
                wrong.setdefault(key, []).append(seen.rank)
    for (named, owners, told), ranks in wrong.items():
        yield Violation(
            "attribution",
            Verdict.MISATTRIBUTED,
            f"the error of {name_ranks(owners)} was told as that of rank {named} in {attempt.label}: "
            f"{name_ranks(ranks)} learned of {told}",
            tuple(ranks),
        )
