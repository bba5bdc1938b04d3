"""Promise: work in which no fault made an error succeeds, also the attempts after a failed one.

UNUSABLE: an attempt failed without an error of a fault in it, or only with errors that were handled and are
not what it reports; or the function under test raised something that no fault explains, such as an assertion
of its own.  After a planned death or stop the ranks may fail in any way, except by an assertion of the
function itself.  The attempts that follow on the same ranks without a fault (``World.run(...,
attempts_after=3)``) must all return: one that raises, hangs or ends a rank is UNUSABLE, too, and of those the
first is told.  Where a launcher ended the job and new ranks then started over what was left, that start must break
no promise either (but for leaks); SILENT_WRONG and LOST_WORK of that start stay what they are.

An error that the function says it expects (`assertRaises`, `pytest.raises`) is no failure.

Not verified: that what a later attempt saved or loaded is correct, unless the function compares it itself and
raises; work on damaged data, which may rightly be refused, by a load also long after the damage; and, where a
limit of the system was set, whether it was that which failed the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from faultkit.checks.effects import Injected
from faultkit.checks.liveness import describe_death, is_group_timeout
from faultkit.checks.model import Attempt, Observation, RunAnalysis, is_assertion
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_error, name_ranks
from faultkit.plan.action_spec import DAMAGE, HIDDEN, LIMIT
from faultkit.runs.outcomes import Died, Hung, Outcome, Raised

__all__ = ["find"]


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    for attempt in analysis.attempts:
        if not analysis.lost_ranks and not attempt.failing and not attempt.unreportable:
            yield from _failed_unprovoked(analysis, attempt)
    yield from _unexplained(analysis)
    yield from _failed_afterwards(analysis)
    yield from _failed_next_start(analysis)


def _failed_unprovoked(analysis: RunAnalysis, attempt: Attempt) -> Iterator[Violation]:
    if _may_refuse(analysis, attempt):
        return
    failed: dict[str, list[int]] = {}
    for seen in attempt.seen("raised"):
        late = seen.error is not None and is_group_timeout(analysis, seen.rank, seen.error)
        if (
            not late
            and not seen.is_expected
            and seen.rank not in analysis.unexplained
            and not _reports_a_handled_error(attempt, seen)
        ):
            failed.setdefault(name_error(seen.error), []).append(seen.rank)
    for told, ranks in failed.items():
        before = "although nothing was injected"
        if attempt.errors:
            before = "although every error that fired in it had been handled"
        elif analysis.fired_faults:
            before = "although no fault made an error in it"
        evidence = f"{attempt.label} failed {before}: {name_ranks(ranks)} raised {told}"
        yield Violation("recovery", Verdict.UNUSABLE, evidence, tuple(ranks))


def _may_refuse(analysis: RunAnalysis, attempt: Attempt) -> bool:
    """Whether a fault that makes no error by itself explains that the attempt failed.

    Only what happened before the attempt was over explains it.  A limit lasts, so that it can strike any attempt.
    Damage is met by a load whenever it happened; by a save only where it happened in it or outside of every attempt,
    as what a rank does not see is by both.
    """
    ends = [seen.seconds for seen in attempt.seen("raised") if seen.seconds is not None]
    end = max(ends, default=math.inf)
    fired_faults = [fired_fault for fired_fault in analysis.fired_faults if fired_fault.fired.seconds <= end]
    if any(fired_fault.effect == LIMIT for fired_fault in fired_faults):
        return True
    here = [
        fired_fault
        for fired_fault in fired_faults
        if fired_fault in attempt.fired_faults or fired_fault in analysis.rest.fired_faults
    ]
    if any(fired_fault.effect in (DAMAGE, HIDDEN) for fired_fault in here):
        return True
    return attempt.op == "load" and any(fired_fault.effect == DAMAGE for fired_fault in fired_faults)


def _is_damaged(analysis: RunAnalysis) -> bool:
    return any(fired_fault.effect == DAMAGE for fired_fault in analysis.fired_faults)


def _reports_a_handled_error(attempt: Attempt, seen: Observation) -> bool:
    if seen.error is None:
        return False
    injected = [Injected.of(fired_fault.fired) for fired_fault in attempt.errors]
    parts = (seen.error, *(seen.error.failures or {}).values())
    return any("message" not in one.lost_in(part) for one in injected for part in parts)


def _unexplained(analysis: RunAnalysis) -> Iterator[Violation]:
    raised: dict[str, list[int]] = {}
    for rank, error in sorted(analysis.unexplained.items()):
        if is_group_timeout(analysis, rank, error):
            continue
        provoked = any(fired_fault.effect in (DAMAGE, LIMIT) for fired_fault in analysis.fired_faults) or any(
            attempt.failing
            or attempt.unreportable
            or any(one.effect == HIDDEN for one in attempt.fired_faults)
            for attempt in analysis.everything
            if rank in attempt.observations and attempt.observations[rank].error is error
        )
        if not is_assertion(error) and (analysis.lost_ranks or provoked):
            continue
        raised.setdefault(name_error(error), []).append(rank)
    for told, ranks in raised.items():
        before = "no fault explains it" if analysis.fired_faults else "nothing was injected"
        evidence = f"the function itself failed and {before}: {name_ranks(ranks)} raised {told}"
        yield Violation("recovery", Verdict.UNUSABLE, evidence, tuple(ranks))


def _failed_afterwards(analysis: RunAnalysis) -> Iterator[Violation]:
    """The first of the attempts without a fault that did not return on every rank."""
    after = analysis.run.attempts_after
    count = max(map(len, after.values()), default=0)
    is_damaged = _is_damaged(analysis)
    for number in range(count if not analysis.lost_ranks else 0):
        ends: dict[str, list[int]] = {}
        for rank, outcomes in sorted(after.items()):
            end = _bad_end(outcomes[number], is_damaged) if number < len(outcomes) else ""
            if end:
                ends.setdefault(end, []).append(rank)
        if ends:
            told = "; ".join(f"{name_ranks(ranks)} {end}" for end, ranks in ends.items())
            where = "without a fault and on the same ranks"
            evidence = f"attempt {number + 1} after the one under the plan, {where}, failed: {told}"
            failed = tuple(sorted(rank for ranks in ends.values() for rank in ranks))
            yield Violation("recovery", Verdict.UNUSABLE, evidence, failed)
            return


def _failed_next_start(analysis: RunAnalysis) -> Iterator[Violation]:
    """What new ranks could not do over what an ended job had left."""
    following = analysis.run.next_start
    is_damaged = any(fired_fault.effect == DAMAGE for fired_fault in analysis.fired_faults)
    for violation in following.violations if following is not None else ():
        is_refusal = is_damaged and violation.verdict is Verdict.UNUSABLE
        if violation.check != "leaks" and not is_refusal:
            start = "the next start, of new ranks over what was left and without a fault, failed"
            evidence = f"{start} ({violation.verdict}): {violation.evidence}"
            is_of_data = violation.verdict in (Verdict.SILENT_WRONG, Verdict.LOST_WORK)
            verdict = violation.verdict if is_of_data else Verdict.UNUSABLE
            yield Violation("recovery", verdict, evidence, violation.ranks, violation.gloss * is_of_data)
            return


def _bad_end(outcome: Outcome, is_damaged: bool) -> str:
    if isinstance(outcome, Raised):
        return "" if is_damaged else f"raised {name_error(outcome.error)}"
    if isinstance(outcome, Hung):
        return f"hung, waiting {clip(outcome.waiting)}" if outcome.waiting else "hung"
    return describe_death(outcome) if isinstance(outcome, Died) else ""
