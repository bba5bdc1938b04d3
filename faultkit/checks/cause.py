"""Promise: type, message and errno of the injected error reach every rank, or stand in its error's chain.

Asked of every rank that saw the attempt fail, for every rank whose fault made it fail.  An error of another
type is well if the injected one is in its chain, or if its text names type and message: pickling drops the
chain between ranks, so what a wrapper says in words is all that can arrive.  Of an error that the engine
cannot report (raised by a collective, or outside of every step) only the rank itself must show the cause.
Anything less is MASKED.  That a chain was lost on the way, and only words arrived, is no violation, and is told by
`lost_chains`.

Not verified: the traceback, attributes of the exception beyond errno, ranks that the attribution check finds
missing, and errors after a planned death or stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from faultkit.checks.effects import Injected, leaves
from faultkit.checks.model import Attempt, FiredFault, Observation, RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_error, name_fired, name_ranks
from faultkit.runs.outcomes import ErrorRecord

__all__ = ["find", "lost_chains"]


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    for attempt in analysis.everything:
        for failed_rank in attempt.failed_ranks:
            fired_faults = [fired_fault for fired_fault in attempt.failing if fired_fault.rank == failed_rank]
            yield from _masked(attempt, fired_faults, _reports(analysis, attempt, failed_rank))
        for failed_rank in sorted({fired_fault.rank for fired_fault in attempt.unreportable}):
            fired_faults = [
                fired_fault for fired_fault in attempt.unreportable if fired_fault.rank == failed_rank
            ]
            yield from _masked(attempt, fired_faults, _own_reports(attempt, failed_rank, fired_faults))


def lost_chains(analysis: RunAnalysis) -> tuple[str, ...]:
    """One sentence for each error of which the words arrived, and not what was raised from what."""
    told: dict[str, list[int]] = {}
    for attempt in analysis.everything:
        for failed_rank in attempt.failed_ranks:
            fired_faults = [fired_fault for fired_fault in attempt.failing if fired_fault.rank == failed_rank]
            for rank, error in _reports(analysis, attempt, failed_rank):
                for fired_fault in fired_faults:
                    if sentence := _lost_chain(fired_fault, error):
                        told.setdefault(sentence, []).append(rank)
    return tuple(f"{name_ranks(ranks)}: {sentence}" for sentence, ranks in told.items())


def _lost_chain(fired_fault: FiredFault, error: ErrorRecord) -> str:
    injected = Injected.of(fired_fault.fired)
    if injected.native or injected.lost_in(error):
        return ""
    links = error.chain()
    if not any(link.type_name.rpartition(".")[2] in injected.type_names for link in links):
        return (
            f"of {name_fired(fired_fault.fired)} only the words arrived, in {name_error(error)}: "
            "the chain to the error itself was lost"
        )
    if injected.cause and not any(injected.cause in link.message for link in links):
        return f"{name_fired(fired_fault.fired)} arrived without the error that it was raised from"
    return ""


def _reports(analysis: RunAnalysis, attempt: Attempt, failed_rank: int) -> Iterator[tuple[int, ErrorRecord]]:
    """What each rank was told about `failed_rank`."""
    for seen in attempt.seen("raised"):
        if (
            seen.error is None
            or seen.rank in analysis.lost_ranks
            or (seen.is_absent and seen.rank != failed_rank)
        ):
            continue
        if seen.error.failures:
            told = seen.error.failures.get(attempt.rank_in_group(failed_rank))
            if told is not None:
                yield seen.rank, told
        elif not analysis.lost_ranks:
            yield seen.rank, seen.error


def _own_reports(
    attempt: Attempt, failed_rank: int, fired_faults: Sequence[FiredFault]
) -> Iterator[tuple[int, ErrorRecord]]:
    """What the failing rank itself showed; in a run without recorded attempts also what the others did."""
    everybody = attempt.op == "run" and not any(
        fired_fault.layer == "comm" or leaves(fired_fault.fired.fault) for fired_fault in fired_faults
    )
    for seen in attempt.seen("raised"):
        if seen.error is not None and (seen.rank == failed_rank or everybody):
            yield seen.rank, _about(seen, attempt.rank_in_group(failed_rank))


def _about(seen: Observation, place: int) -> ErrorRecord:
    assert seen.error is not None
    return (seen.error.failures or {}).get(place, seen.error)


def _masked(
    attempt: Attempt, fired_faults: Sequence[FiredFault], reports: Iterator[tuple[int, ErrorRecord]]
) -> Iterator[Violation]:
    injected = [Injected.of(fired_fault.fired) for fired_fault in fired_faults]
    masked: dict[tuple[tuple[str, ...], str], list[int]] = {}
    for rank, error in reports:
        lost = min((one.lost_in(error) for one in injected), key=len)
        if lost:
            masked.setdefault((lost, name_error(error)), []).append(rank)
    for (lost, told), ranks in masked.items():
        yield Violation(
            "cause",
            Verdict.MASKED,
            f"the {_listed(lost)} of {name_fired(fired_faults[-1].fired)} did not reach {name_ranks(ranks)} in "
            f"{attempt.label}: injected was {injected[-1]} ({clip(injected[-1].messages[0], 100)!r}), "
            f"what arrived is {told}",
            tuple(ranks),
        )


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
