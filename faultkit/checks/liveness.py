"""Promise: every live rank returns within the deadline, and not only at the process group's timeout.

HUNG: a rank did not come back, and no fault had stopped it.  That another rank was hung on purpose is no
excuse for the ranks that wait for it.  DIED: a process ended that no fault had ended.  LATE: a rank came back
only because the process group gave up waiting; or in an attempt every rank that came back had waited for `LATE_SECONDS`
or more after the last fault, with nothing to do and beyond what the faults themselves take.  Where a launcher keeps
the job (`faultkit.runs.launcher`), it ends the ranks that wait for one whose process has failed: that is neither.

Not verified: a shorter wait, or one of some ranks while others work; the waits of a function that goes on after an
attempt, which are its own affair (where no attempt is recorded, all that it waits counts); waits on a machine that is
so busy that they cannot be told from waits for a processor (`faultkit.processes.idleness`); a deadline below the run's
own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from faultkit.checks.effects import Injected
from faultkit.checks.model import Attempt, FiredFault, RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_error, name_fired, name_ranks, plural, top_frames
from faultkit.plan.action_spec import ERROR, TIME
from faultkit.runs.launcher import was_ended
from faultkit.runs.outcomes import Died, ErrorRecord, Hung, Raised, Returned

__all__ = ["describe_death", "find", "is_group_timeout"]

SHOWN_FRAMES = 3
LATE_SECONDS = 10.0
SEARCHED_CHARACTERS = 10_000  # of each end of a message

_GROUP_TIMEOUT = re.compile(
    r"timed out waiting \d+ ?ms|timed out after \d+ ?(ms|milliseconds)|wait timeout after|socket timeout"
    r"|watchdog caught collective operation timeout|timeout\(ms\)=|monitoredBarrier.*timed? ?out",
    re.IGNORECASE | re.DOTALL,
)


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    yield from _hung(analysis)
    yield from _died(analysis)
    yield from _late(analysis)
    yield from _slow(analysis)


def describe_death(outcome: Died) -> str:
    """``"died of SIGKILL"``, ``"exited with code 7"`` or ``"was ended by the launcher"``."""
    if was_ended(outcome):
        return "was ended by the launcher"
    return f"died of {outcome.signal}" if outcome.signal else f"exited with code {outcome.exitcode}"


def is_group_timeout(analysis: RunAnalysis, rank: int, error: ErrorRecord) -> bool:
    """Whether `error` is that of a process group which gave up waiting, and not an injected one."""
    links = [link for part in (error, *(error.failures or {}).values()) for link in part.chain()]
    injected = [
        Injected.of(fired_fault.fired) for fired_fault in analysis.fired_faults if fired_fault.effect == ERROR
    ]
    late = [link for link in links if not link.failures and _tells_of_a_timeout(link.message)]
    return any(not any(one.same_as(link) for one in injected) for link in late)


def _tells_of_a_timeout(message: str) -> bool:
    # a group that gives up says so in a few lines; to search a megabyte takes a tenth of a second
    ends = (
        message
        if len(message) <= 2 * SEARCHED_CHARACTERS
        else message[:SEARCHED_CHARACTERS] + "\n" + message[-SEARCHED_CHARACTERS:]
    )
    return _GROUP_TIMEOUT.search(ends) is not None


def _hung(analysis: RunAnalysis) -> Iterator[Violation]:
    hung = {
        rank: outcome
        for rank, outcome in sorted(analysis.outcomes.items())
        if isinstance(outcome, Hung) and rank not in analysis.lost_ranks
    }
    if not hung:
        return
    by_place: dict[str, list[int]] = {}
    for rank, outcome in hung.items():
        by_place.setdefault(_where(outcome), []).append(rank)
    places = "; ".join(f"{name_ranks(ranks)} {place}" for place, ranks in by_place.items())
    cause = ""
    if effective := [fired_fault for fired_fault in analysis.fired_faults if not fired_fault.handled]:
        cause = f"; what fired first was {name_fired(effective[0].fired)}"
    yield Violation(
        "liveness",
        Verdict.HUNG,
        f"{name_ranks(hung)} {_never(analysis)}, and no fault had stopped "
        f"{plural(hung, 'it', 'them')}: {places}{cause}",
        tuple(hung),
    )


def _never(analysis: RunAnalysis) -> str:
    """A hang is proven from who waits for whom where that is possible, else by the deadline."""
    took, deadline = analysis.run.seconds, analysis.run.timeout_seconds
    simulation = analysis.run.simulation
    if simulation is not None and isinstance(deadline, int | float):  # whose clock is not that of the machine
        took = simulation.seconds if simulation.is_certain else deadline
    if not isinstance(deadline, int | float) or not isinstance(took, int | float):
        return "never came back"
    if took < deadline:
        return f"can never come back (certain {took:.2g} s into the run)"
    return f"did not come back within {deadline:g} s"


def _where(outcome: Hung) -> str:
    frames = top_frames(outcome.stack, SHOWN_FRAMES)
    at = f"at {' < '.join(map(str, frames))}" if frames else ""
    waiting = f"waiting {clip(outcome.waiting)}" if outcome.waiting else ""
    return ", ".join(part for part in (waiting, at) if part) or "in an unknown place"


def _died(analysis: RunAnalysis) -> Iterator[Violation]:
    by_end: dict[str, list[int]] = {}
    for rank, outcome in sorted(analysis.outcomes.items()):
        if isinstance(outcome, Died) and rank not in analysis.lost_ranks and not was_ended(outcome):
            frames = top_frames(outcome.stack, SHOWN_FRAMES)
            at = f" at {' < '.join(map(str, frames))}" if frames else ""
            by_end.setdefault(f"{describe_death(outcome)}{at}", []).append(rank)
    for end, ranks in by_end.items():
        evidence = f"{name_ranks(ranks)} {end}, and no fault had ended {plural(ranks, 'it', 'them')}"
        yield Violation("liveness", Verdict.DIED, evidence, tuple(ranks))


def _late(analysis: RunAnalysis) -> Iterator[Violation]:
    told: dict[int, ErrorRecord] = {}
    for attempt in analysis.everything:
        for seen in attempt.seen("raised"):
            if seen.error is not None and is_group_timeout(analysis, seen.rank, seen.error):
                told.setdefault(seen.rank, seen.error)
    if told:
        first = min(told)
        yield Violation(
            "liveness",
            Verdict.LATE,
            f"{name_ranks(told)} came back only when the process group gave up waiting: "
            f"rank {first} raised {name_error(told[first])}",
            tuple(sorted(told)),
        )


def _has_not_come_back(outcome: object) -> bool:
    return isinstance(outcome, Hung) or (isinstance(outcome, Died) and was_ended(outcome))


def _slow(analysis: RunAnalysis) -> Iterator[Violation]:
    """Everybody waited for nothing from the last fault of an attempt to its end, or to that of the function which
    passes its error on; counted as if all the time outside of that had been waited, too."""
    back = [rank for rank, outcome in analysis.outcomes.items() if isinstance(outcome, Returned | Raised)]
    if any(map(_has_not_come_back, analysis.outcomes.values())):
        return
    waits: dict[int, tuple[float, float]] = {}
    for event in analysis.run.events:
        if event.kind == "waited" and isinstance(event.data, dict):
            waits.setdefault(event.rank, (float(event.data.get("seconds") or 0.0), event.seconds))
    planned = sum(_planned_seconds(one) for one in analysis.fired_faults)
    for attempt in analysis.everything:
        struck = [one for one in attempt.fired_faults if one.effect != TIME or _planned_seconds(one)]
        ranks = [rank for rank in back if not attempt.number or rank in attempt.observations]
        if not struck or not ranks:
            continue
        last = max(struck, key=lambda one: one.fired.seconds).fired  # who tries again may wait before that
        seconds = min(_waited(analysis, attempt, rank, waits, last.seconds) for rank in ranks) - planned
        if seconds >= LATE_SECONDS:
            yield Violation(
                "liveness",
                Verdict.LATE,
                f"{name_ranks(ranks)} came back after {plural(ranks, 'it had', 'each had')} waited {seconds:.0f} s "
                f"with nothing to do, since {name_fired(last)}",
                tuple(sorted(ranks)),
                "everybody waited longer than was needed",
            )
            return


def _planned_seconds(fired_fault: FiredFault) -> float:
    return (fired_fault.fired.fault.action.duration_seconds or 0.0) if fired_fault.effect == TIME else 0.0


def _waited(
    analysis: RunAnalysis, attempt: Attempt, rank: int, waits: dict[int, tuple[float, float]], since: float
) -> float:
    """For how long at least the rank only waited in `attempt`, of what it did in all."""
    waited, end = waits.get(rank, (0.0, 0.0))
    own = [one for one in analysis.attempts if rank in one.observations]
    ended = attempt.observations[rank].seconds if attempt.number else None
    if ended is None or (attempt is own[-1] and isinstance(analysis.outcomes[rank], Raised)):
        ended = end
    return waited - since - max(0.0, end - ended)
