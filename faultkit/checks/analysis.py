"""Analyses a run: which attempts there were, who took part, what struck and what each rank saw.

An attempt belongs to the ranks that recorded it, and to a rank that stopped before it could.  The error of an
attempt is what the engine raised, also where the function under test caught it.  An outcome that its attempts
do not explain (an error raised after the last of them, or a rank that recorded none: no call of the engine,
or an engine of one's own) is an observation of its own, in the rest of the run.

Not covered: what a child process did that no fault means, and two attempts of one rank that overlap are told apart only
by their events.  Where the events do not name the group of an attempt, it is taken for the ranks that recorded it.
"""

from __future__ import annotations

import msgspec

from faultkit.checks.effects import Injected, effect_of_fired, leaves
from faultkit.checks.model import (
    Attempt,
    FiredFault,
    Observation,
    RunAnalysis,
    is_assertion,
    is_own_assertion,
)
from faultkit.checks.timeline import Place, Timeline, same_error, timelines_of
from faultkit.plan.action_spec import DEATH, ERROR, FREEZE, HARMLESS, LIMIT, TIME
from faultkit.runs.outcomes import Died, ErrorRecord, Fired, Hung, Outcome, Raised, Returned
from faultkit.runs.run import Run

__all__ = ["account_of", "analyse"]

# which work, which of them, in which group: what ranks that make it together call alike
Key = tuple[str, int, tuple[int, ...] | None]


def analyse(run: Run) -> RunAnalysis:
    """Analyse `run`; never raises on missing events or ranks."""
    outcomes = dict(run.outcomes)
    ranks = {
        *outcomes,
        *(f.rank for f in run.fired),
        *(e.rank for e in run.events),
    }
    world_size = run.world_size or max(ranks, default=-1) + 1
    timelines = timelines_of(run, sorted(ranks | set(range(world_size))))
    builder = _Builder(run, outcomes, timelines)
    return builder.build(world_size)


account_of = analyse  # the earlier name


class _Builder:
    def __init__(self, run: Run, outcomes: dict[int, Outcome], timelines: dict[int, Timeline]) -> None:
        self.run = run
        self.outcomes = outcomes
        self.timelines = timelines

    def build(self, world_size: int) -> RunAnalysis:
        lost_ranks = self.lost_ranks()
        keys = self.keys()
        absent = self.absentees(keys)
        attempts = tuple(self.attempt(key, holders, absent, world_size) for key, holders in keys.items())
        rest = self.rest(absent)
        return RunAnalysis(
            run=self.run,
            world_size=world_size,
            outcomes=self.outcomes,
            fired_faults=tuple(
                sorted((s for a in (*attempts, rest) for s in a.fired_faults), key=lambda s: s.fired.seconds)
            ),
            attempts=attempts,
            rest=rest,
            lost_ranks=lost_ranks,
            unexplained=self.unexplained(),
        )

    def lost_ranks(self) -> dict[int, FiredFault]:
        """Ranks whose end is the very one that a fault planned for them."""
        found: dict[int, FiredFault] = {}
        for rank, timeline in self.timelines.items():
            outcome = self.outcomes.get(rank)
            for fired, place, _ in timeline.fired:
                effect = effect_of_fired(fired)
                ended = isinstance(outcome, Died) and (effect == DEATH or leaves(fired.fault))
                stands = isinstance(outcome, Hung) and (effect == FREEZE or self.still_resting(fired, effect))
                stands = (
                    stands and not fired.child
                )  # that a process of it stands still is the rank's to notice
                if ended or stands:
                    found[rank] = FiredFault(fired, effect, place.step, place.order)
        return found

    def still_resting(self, fired: Fired, effect: str) -> bool:
        if effect != TIME:
            return False
        limit = self.run.timeout_seconds or self.run.seconds or 0.0
        return fired.seconds + (fired.fault.action.duration_seconds or 0.0) >= limit

    def keys(self) -> dict[Key, dict[int, int]]:
        """Each attempt, in order of its first begin, with its place among the spans of each rank.

        Attempts of other groups in between do not count: the third save of one rank may be the first of another.
        """
        begun = sorted(
            (span.begin_seconds, rank, index)
            for rank, timeline in self.timelines.items()
            for index, span in enumerate(timeline.spans)
        )
        found: dict[Key, dict[int, int]] = {}
        for _, rank, index in begun:
            spans = self.timelines[rank].spans
            span = spans[index]
            elsewhere = sum(earlier.group != span.group for earlier in spans[:index])
            found.setdefault((span.op, span.number - elsewhere, span.group), {})[rank] = index
        return found

    def absentees(self, keys: dict[Key, dict[int, int]]) -> dict[int, Key]:
        """Ranks that stopped before an attempt which others began and could not finish without them."""
        found: dict[int, Key] = {}
        for rank, timeline in self.timelines.items():
            outcome = self.outcomes.get(rank)
            if isinstance(outcome, Returned) or outcome is None:
                continue
            if timeline.spans and timeline.spans[-1].ok is None:
                continue
            if isinstance(outcome, Raised) and self.explained_by_attempt(rank, outcome):
                continue
            last = timeline.spans[-1].begin_seconds if timeline.spans else -1.0
            for key, holders in keys.items():
                parts = [self.timelines[other].spans[index] for other, index in holders.items()]
                if rank in holders or (key[2] is not None and rank not in key[2]):
                    continue
                if max(part.begin_seconds for part in parts) < last:
                    continue
                if key[2] is not None or not all(part.ok for part in parts):
                    found[rank] = key
                    break
        return found

    def attempt(self, key: Key, holders: dict[int, int], absent: dict[int, Key], world_size: int) -> Attempt:
        late = [rank for rank, missed in absent.items() if missed == key]
        observations = {rank: self.span_observation(rank, index) for rank, index in holders.items()}
        for rank in late:
            observations[rank] = msgspec.structs.replace(self.outcome_observation(rank), is_absent=True)
        fired_faults = [
            self.fired_fault(fired, place, retried)
            for rank, timeline in self.timelines.items()
            for fired, place, retried in timeline.fired
            if (place.span is not None and place.span == holders.get(rank))
            or (place.span is None and rank in late and place.gap == len(timeline.spans))
        ]
        members = key[2] or tuple(sorted(observations))
        number = min(self.timelines[rank].spans[index].number for rank, index in holders.items())
        return Attempt(key[0], number, members, observations, tuple(fired_faults))

    def rest(self, absent: dict[int, Key]) -> Attempt:
        observations: dict[int, Observation] = {}
        fired_faults: list[FiredFault] = []
        recorded = any(timeline.spans for timeline in self.timelines.values())
        for rank, timeline in self.timelines.items():
            spans = timeline.spans
            for fired, place, retried in timeline.fired:
                went_on = place.gap < len(spans)
                if place.span is None and (rank not in absent or went_on):
                    fired_faults.append(self.fired_fault(fired, place, retried or went_on))
            outcome = self.outcomes.get(rank)
            if rank in absent or outcome is None or (spans and spans[-1].ok is None):
                continue
            if isinstance(outcome, Raised) and self.explained_by_attempt(rank, outcome):
                continue
            observations[rank] = self.outcome_observation(rank)
        if not recorded:
            observations |= self.expected(observations)
        op = "rest" if recorded else "run"
        return Attempt(op, 0, tuple(sorted(self.timelines)), observations, tuple(fired_faults))

    def expected(self, observations: dict[int, Observation]) -> dict[int, Observation]:
        """Of ranks that returned what they saw before: an error that the function expects, and that tells of a fault.

        Where one rank has such, errors of its type tell of it on the others, too, whatever they say.
        """
        struck = sorted(
            (one.seconds, index, Injected.of(one))
            for index, (one, _, _) in enumerate(pair for t in self.timelines.values() for pair in t.fired)
            if effect_of_fired(one) == ERROR
        )
        seen = {
            rank: [(at, error) for at, error in timeline.expected if struck and at >= struck[0][0]]
            for rank, timeline in self.timelines.items()
            if rank in observations and observations[rank].kind == "returned"
        }
        telling = {
            (error.module, error.type_name)
            for errors in seen.values()
            for at, error in errors
            if any(at >= began and not injected.lost_in(error) for began, _, injected in struck)
        }
        return {
            rank: Observation(rank, "raised", error, at, is_expected=True)
            for rank, errors in seen.items()
            for at, error in errors
            if (error.module, error.type_name) in telling
        }

    def fired_fault(self, fired: Fired, place: Place, handled: bool) -> FiredFault:
        return FiredFault(fired, effect_of_fired(fired), fired.step or place.step, place.order, handled)

    def span_observation(self, rank: int, index: int) -> Observation:
        span, outcome = self.timelines[rank].spans[index], self.outcomes.get(rank)
        if span.ok is None:
            if span.child and isinstance(outcome, Returned):
                # its process ended before it did, and its rank went on as after any other
                return Observation(rank, "returned")
            if isinstance(outcome, Returned) or index < len(self.timelines[rank].spans) - 1:
                return Observation(rank, "unknown")
            return self.outcome_observation(rank)
        if span.ok:
            return Observation(rank, "returned", None, span.end_seconds)
        error = span.error
        if isinstance(outcome, Raised) and (error is None or same_error(outcome.error, error)):
            error = outcome.error  # the outcome has the tracebacks and the whole chain
        return Observation(rank, "raised", error, span.end_seconds, is_expected=span.is_expected)

    def outcome_observation(self, rank: int) -> Observation:
        outcome = self.outcomes.get(rank)
        if isinstance(outcome, Raised):
            return Observation(rank, "raised", outcome.error)
        return Observation(rank, getattr(outcome, "kind", "unknown"))

    def explained_by_attempt(self, rank: int, outcome: Raised) -> bool:
        """Whether the function only passed on the error of one of its attempts, maybe wrapped."""
        spans = self.timelines[rank].spans
        if spans and spans[-1].ok is None:
            return not is_own_assertion(outcome.error)
        errors = [span.error for span in spans if span.ok is False]
        if any(error is None or same_error(outcome.error, error) for error in errors):
            return True
        links = outcome.error.chain()[1:]
        if is_assertion(outcome.error):
            # an assertion in an `except` block has the caught error for context, and is still news
            links = outcome.error.cause.chain() if outcome.error.cause else ()
        return any(same_error(link, error) for link in links for error in errors if error is not None)

    def unexplained(self) -> dict[int, ErrorRecord]:
        found: dict[int, ErrorRecord] = {}
        for rank, outcome in self.outcomes.items():
            if not isinstance(outcome, Raised) or self.explained_by_attempt(rank, outcome):
                continue
            struck = self.timelines[rank].fired
            if not _claims(outcome.error) and any(
                (one.native and _is_felt(one) and not handled) or effect_of_fired(one) == LIMIT
                for one, _, handled in struck
            ):
                continue  # who meets a limit says so in words of its own: a native writer knows no errno
            fired = [one for one, _, _ in struck if effect_of_fired(one) == ERROR]
            links = outcome.error.chain()
            if is_assertion(outcome.error):
                links = links[:1] + (outcome.error.cause.chain() if outcome.error.cause else ())
            if any(Injected.of(one).same_as(link) for one in fired for link in links):
                continue
            if _claims(outcome.error) or not self.is_told_of_another(rank, outcome.error):
                found[rank] = outcome.error
        return found

    def is_told_of_another(self, rank: int, error: ErrorRecord) -> bool:
        """Whether `error` tells in full what was injected on another rank: ranks may tell one another what failed."""
        return any(
            not Injected.of(one).lost_in(error)
            for other, timeline in self.timelines.items()
            for one, _, _ in timeline.fired
            if other != rank and effect_of_fired(one) == ERROR and not one.native
        )


def _claims(error: ErrorRecord) -> bool:
    """Whether the function itself looked and found something that must not be, which no fault excuses."""
    return is_assertion(error) or error.type_name == "WrongContent"


def _is_felt(fired: Fired) -> bool:
    """Whether who meets it may fail of it: not of a pause, nor of a write that said how little it wrote."""
    return effect_of_fired(fired) not in (HARMLESS, TIME)
