"""Promise: work in which no fault made an error succeeds, also the attempt after a failed one.

This is the first form of the promise.  UNUSABLE: an attempt failed without an error of a fault in it, or only
with errors that were handled and are not what it reports; or the function under test raised something that no
fault explains, such as an assertion of its own.  After a planned death or stop the ranks may fail in any way,
except by an assertion of the function itself.

Not verified: that what the later attempt saved or loaded is correct, and an attempt with damaged data, which
may rightly be refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.checks.effects import DAMAGE, Injected
from faultkit.checks.expected import Account, Attempt, Observation
from faultkit.checks.liveness import is_group_timeout
from faultkit.checks.naming import name_error, name_ranks
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation

__all__ = ["find"]


def find(account: Account) -> Iterator[Violation]:
    for attempt in account.attempts:
        if not account.downed and not attempt.failing and not attempt.stray:
            yield from _failed_unprovoked(account, attempt)
    yield from _unexplained(account)


def _failed_unprovoked(account: Account, attempt: Attempt) -> Iterator[Violation]:
    if any(strike.effect == DAMAGE for strike in attempt.strikes):
        return
    failed: dict[str, list[int]] = {}
    for seen in attempt.seen("raised"):
        late = seen.error is not None and is_group_timeout(account, seen.rank, seen.error)
        if not late and seen.rank not in account.unexplained and not _reports_a_handled_error(attempt, seen):
            failed.setdefault(name_error(seen.error), []).append(seen.rank)
    for told, ranks in failed.items():
        before = "although nothing was injected"
        if attempt.errors:
            before = "although every error that fired in it had been handled"
        elif account.strikes:
            before = "although no fault made an error in it"
        evidence = f"{attempt.label} failed {before}: {name_ranks(ranks)} raised {told}"
        yield Violation("recovery", Verdict.UNUSABLE, evidence, tuple(ranks))


def _reports_a_handled_error(attempt: Attempt, seen: Observation) -> bool:
    if seen.error is None:
        return False
    injected = [Injected.by(strike.fired.fault) for strike in attempt.errors]
    parts = (seen.error, *(seen.error.failures or {}).values())
    return any("message" not in one.lost_in(part) for one in injected for part in parts)


def _unexplained(account: Account) -> Iterator[Violation]:
    raised: dict[str, list[int]] = {}
    for rank, error in sorted(account.unexplained.items()):
        if is_group_timeout(account, rank, error):
            continue
        provoked = any(
            attempt.failing or attempt.stray
            for attempt in account.everything
            if rank in attempt.observations and attempt.observations[rank].error is error
        )
        if error.type_name != "AssertionError" and (account.downed or provoked):
            continue
        raised.setdefault(name_error(error), []).append(rank)
    for told, ranks in raised.items():
        before = "no fault explains it" if account.strikes else "nothing was injected"
        evidence = f"the function itself failed and {before}: {name_ranks(ranks)} raised {told}"
        yield Violation("recovery", Verdict.UNUSABLE, evidence, tuple(ranks))
