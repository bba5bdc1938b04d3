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
from faultkit.checks.expected import Account, Attempt, Observation, Strike
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_error, name_fired, name_ranks
from faultkit.runs.outcomes import ErrorRecord

__all__ = ["find", "lost_chains"]


def find(account: Account) -> Iterator[Violation]:
    for attempt in account.everything:
        for culprit in attempt.culprits:
            strikes = [strike for strike in attempt.failing if strike.rank == culprit]
            yield from _masked(attempt, strikes, _reports(account, attempt, culprit))
        for culprit in sorted({strike.rank for strike in attempt.stray}):
            strikes = [strike for strike in attempt.stray if strike.rank == culprit]
            yield from _masked(attempt, strikes, _own_reports(attempt, culprit, strikes))


def lost_chains(account: Account) -> tuple[str, ...]:
    """One sentence for each error of which the words arrived, and not what was raised from what."""
    told: dict[str, list[int]] = {}
    for attempt in account.everything:
        for culprit in attempt.culprits:
            strikes = [strike for strike in attempt.failing if strike.rank == culprit]
            for rank, error in _reports(account, attempt, culprit):
                for strike in strikes:
                    if sentence := _lost_chain(strike, error):
                        told.setdefault(sentence, []).append(rank)
    return tuple(f"{name_ranks(ranks)}: {sentence}" for sentence, ranks in told.items())


def _lost_chain(strike: Strike, error: ErrorRecord) -> str:
    injected = Injected.of(strike.fired)
    if injected.native or injected.lost_in(error):
        return ""
    links = error.chain()
    if not any(link.type_name.rpartition(".")[2] in injected.type_names for link in links):
        return (
            f"of {name_fired(strike.fired)} only the words arrived, in {name_error(error)}: "
            "the chain to the error itself was lost"
        )
    if injected.cause and not any(injected.cause in link.message for link in links):
        return f"{name_fired(strike.fired)} arrived without the error that it was raised from"
    return ""


def _reports(account: Account, attempt: Attempt, culprit: int) -> Iterator[tuple[int, ErrorRecord]]:
    """What each rank was told about `culprit`."""
    for seen in attempt.seen("raised"):
        if seen.error is None or seen.rank in account.downed or (seen.is_absent and seen.rank != culprit):
            continue
        if seen.error.failures:
            told = seen.error.failures.get(attempt.rank_in_group(culprit))
            if told is not None:
                yield seen.rank, told
        elif not account.downed:
            yield seen.rank, seen.error


def _own_reports(
    attempt: Attempt, culprit: int, strikes: Sequence[Strike]
) -> Iterator[tuple[int, ErrorRecord]]:
    """What the failing rank itself showed; in a run without recorded attempts also what the others did."""
    everybody = attempt.op == "run" and not any(
        strike.layer == "comm" or leaves(strike.fired.fault) for strike in strikes
    )
    for seen in attempt.seen("raised"):
        if seen.error is not None and (seen.rank == culprit or everybody):
            yield seen.rank, _about(seen, attempt.rank_in_group(culprit))


def _about(seen: Observation, place: int) -> ErrorRecord:
    assert seen.error is not None
    return (seen.error.failures or {}).get(place, seen.error)


def _masked(
    attempt: Attempt, strikes: Sequence[Strike], reports: Iterator[tuple[int, ErrorRecord]]
) -> Iterator[Violation]:
    injected = [Injected.of(strike.fired) for strike in strikes]
    masked: dict[tuple[tuple[str, ...], str], list[int]] = {}
    for rank, error in reports:
        lost = min((one.lost_in(error) for one in injected), key=len)
        if lost:
            masked.setdefault((lost, name_error(error)), []).append(rank)
    for (lost, told), ranks in masked.items():
        yield Violation(
            "cause",
            Verdict.MASKED,
            f"the {_listed(lost)} of {name_fired(strikes[-1].fired)} did not reach {name_ranks(ranks)} in "
            f"{attempt.label}: injected was {injected[-1]} ({clip(injected[-1].messages[0], 100)!r}), "
            f"what arrived is {told}",
            tuple(ranks),
        )


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
