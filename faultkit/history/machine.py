"""The state machine that `checkpoint_history` makes: it draws steps, runs them, and tells what it found.

Guarantees: once a history breaks a promise, it is made as small as it can be, and that is what is told; what
Hypothesis tries after that costs no run.  Before it is told, the smallest history is run again on fresh ranks.
Not covered: the meaning of the arguments, see `entry`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import Phase, reject, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.history.draw import Drawn, next_steps
from faultkit.history.identity import occurrence_of_life
from faultkit.history.ranks import pool_of
from faultkit.history.runner import HistoryRunner, Rules
from faultkit.history.shrink import Points, smallest
from faultkit.history.steps import Step
from faultkit.history.story import tell
from faultkit.known.entries import Entry, Occurrence
from faultkit.known.sorting import sort
from faultkit.worlds import observers
from faultkit.worlds.pool import WorldPool

__all__ = ["machine_of", "replay"]

STEPS_MAX = 20
SHRINKING_SECONDS_MAX = 120.0


def replay(
    checkpointer: Checkpointer,
    pool: WorldPool,
    rules: Rules,
    steps: Iterable[Step],
    folder: Path | None = None,
) -> HistoryRunner:
    """Run `steps` until one breaks a promise; the life that was lived.  Raises what `HistoryRunner.perform` raises."""
    life = HistoryRunner(checkpointer, pool, rules, folder)
    try:
        for step in steps:
            if life.perform(step) is not None:
                break
    finally:
        life.close()
    return life


class _Moment(msgspec.Struct):
    """What a job was like after the steps that lead here, and after each step that was then run."""

    is_up: bool = False
    step: int = 0
    world_size: int = 0
    is_disturbed: bool = False
    then: dict[Step, _Moment] = msgspec.field(default_factory=dict)


class _Run(msgspec.Struct):
    """One run of a machine as a test: every step of it so far, and the history that broke a promise."""

    identity: object = None
    root: _Moment = msgspec.field(default_factory=_Moment)
    found: tuple[Step, ...] = ()
    smallest: tuple[Step, ...] = ()
    story: str = ""
    occurrence: Occurrence | None = None


class _Again:
    """Stands for a `HistoryRunner` once a history has failed: it fails that history again, without running anything.

    Hypothesis goes on looking for fewer choices; the smallest history is known already, so that any other that
    was not run before is rejected.  As far as one was, this is what it was then: Hypothesis checks that the same
    can be drawn again.
    """

    def __init__(self, run: _Run) -> None:
        self.run, self.moment = run, run.root
        self.steps: tuple[Step, ...] = ()
        self.is_up, self.step, self.world_size, self.is_disturbed = False, 0, 0, False

    def perform(self, step: Step) -> bool:
        self.steps = (*self.steps, step)
        known = self.moment.then.get(step)
        if known is None:
            reject()
        self.moment = known
        self.is_up, self.step = known.is_up, known.step
        self.world_size, self.is_disturbed = known.world_size, known.is_disturbed
        return self.steps == self.run.found

    def close(self) -> None:
        pass


class _JobMachine(RuleBasedStateMachine):
    """What all machines share.  The subclass that `machine_of` makes says what it is about, and has the rules."""

    pool: WorldPool
    checkpointer: Checkpointer
    told_as: Any
    history_rules: Rules
    places: Points
    fewest_ranks: int
    entries: tuple[Entry, ...] = ()
    known: list[Occurrence]
    current: _Run = _Run()

    def __init__(self) -> None:
        super().__init__()
        identity = _this_run()
        if identity is None or self.current.identity is not identity:
            type(self).current = _Run(identity)
        self.run, self.moment = self.current, self.current.root
        self.is_over = False
        self.life: Any = (
            _Again(self.run)
            if self.run.found
            else HistoryRunner(self.checkpointer, self.pool, self.history_rules)
        )

    def perform(self, step: Step) -> None:
        """Run a step.  Raises AssertionError with the story of the smallest history where it breaks a promise.

        A life that breaks one in a way that is known is over, and fails nothing.
        """
        if self.is_over:
            return
        is_found = bool(self.life.perform(step))
        if isinstance(self.life, HistoryRunner):
            life = self.life
            now = _Moment(life.is_up, life.step, life.world_size, life.is_disturbed)
            self.moment = self.moment.then.setdefault(step, now)
            if is_found:
                self.is_over = self._is_known(occurrence_of_life(life)) or self._is_known_once_smallest()
        if is_found and not self.is_over:
            error = AssertionError(self._confirmed() if _is_final() else self.run.story)
            error.__dict__["faultkit_occurrence"] = self.run.occurrence
            raise error

    def _is_known(self, occurrence: Occurrence) -> bool:
        """Whether an entry accepts it, or has accepted what such a one came to once it was made smaller."""
        is_known = any(one.identity == occurrence.identity for one in self.known)
        is_known = is_known or (bool(self.entries) and sort([occurrence], self.entries).held)
        if is_known:
            self.known.append(occurrence)
        return is_known

    def _is_known_once_smallest(self) -> bool:
        raw = occurrence_of_life(self.life)
        self._shrink()
        smallest = self.run.occurrence
        if smallest is None or not self._is_known(smallest):
            return False
        if raw.identity != smallest.identity:
            self.known.append(raw)
        self.run.found, self.run.smallest, self.run.story, self.run.occurrence = (), (), "", None
        return True

    def _shrink(self) -> None:
        verdict = self.life.finding.verdict
        steps = tuple(told.step for told in self.life.told)
        stories: dict[tuple[Step, ...], str] = {steps: tell(self.life, self.told_as)}
        occurrences = {steps: occurrence_of_life(self.life)}
        deadline = time.monotonic() + SHRINKING_SECONDS_MAX
        held = {steps[:length] for length in range(len(steps))}  # nothing was broken up to there

        def fails(history: tuple[Step, ...]) -> bool:
            if history in held or time.monotonic() > deadline:
                return False
            try:
                life = replay(self.checkpointer, self.pool, self.history_rules, history)
            except ValueError:  # a step that cannot come where it stands
                return False
            stories[history] = tell(life, self.told_as)
            if life.finding is not None:
                occurrences[history] = occurrence_of_life(life)
            held.update(history[:length] for length in range(len(life.told) + (life.finding is None)))
            same = life.finding is not None and life.finding.verdict == verdict
            return same and len(life.told) == len(history)

        self.run.smallest = smallest(steps, fails, points=self.places, fewest_ranks=self.fewest_ranks)
        self.run.found, self.run.story = steps, stories[self.run.smallest]
        self.run.occurrence = occurrences[self.run.smallest]

    def _confirmed(self) -> str:
        """The story of the smallest history once it was seen again on fresh ranks, else what both came to."""
        fresh = pool_of(self.checkpointer, self.pool.timeout)
        try:
            again = replay(self.checkpointer, fresh, self.history_rules, self.run.smallest)
        finally:
            fresh.close()
        first = self.run.story
        verdict, story = first.partition(":")[0], tell(again, self.told_as)
        if again.finding is not None and again.finding.verdict == verdict:
            return story
        return (
            f"the worlds disagree: {verdict} on warm ranks, {story.partition(':')[0]} on fresh ones; an earlier "
            f"history left something behind, or the outcome is a matter of chance\n\n{first}"
            f"\n\nthe same history on fresh ranks\n\n{story}"
        )

    def teardown(self) -> None:
        if isinstance(self.life, HistoryRunner) and self.life.told:
            observers.count(observers.HISTORIES, self.life.verdict)
        self.life.close()

    @classmethod
    @functools.cache  # or what a user assigns to its settings would be lost
    def _to_test_case(cls) -> Any:
        made: Any = super()._to_test_case()
        made.settings = _without_shrinking(settings(made.settings, stateful_step_count=STEPS_MAX))

        def run_test(self: Any) -> None:
            run_state_machine_as_test(cls, settings=_without_shrinking(self.settings))

        vars(run_test).update(vars(made.runTest))
        made.runTest = run_test
        made.tearDownClass = classmethod(lambda _: cls.pool.close())
        return made


def _without_shrinking(given: settings) -> settings:
    """Of the choices of an example, which takes long, and is not needed: its history is made smaller instead."""
    left_out = (Phase.shrink, Phase.explain)
    return settings(given, phases=[phase for phase in given.phases if phase not in left_out])


def _this_run() -> object | None:
    """What is the same for all examples of one run of a test, and for no other; None where that is not known."""
    try:
        from hypothesis.control import current_build_context

        return current_build_context().wrapped_test
    except Exception:  # another version of Hypothesis, or no example
        return None


def _is_final() -> bool:
    try:
        from hypothesis.control import current_build_context

        return bool(current_build_context().is_final)
    except Exception:  # another version of Hypothesis, or no example
        return False


def machine_of(
    checkpointer: Checkpointer,
    told_as: Any,
    pool: WorldPool,
    rules: Rules,
    drawn: Drawn,
    places: Points,
    entries: tuple[Entry, ...] = (),
) -> type[RuleBasedStateMachine]:
    """The machine over `checkpointer`, which somebody gave as `told_as`, run on `pool`.

    `places` are where faults are tried, see `smallest`; a life that `entries` know is over, and fails nothing.
    """

    @initialize(world_size=st.integers(*drawn.sizes))
    def start(self: Any, world_size: int) -> None:
        self.perform(Step("start", world_size))

    @rule(step=next_steps(drawn))
    def live(self: Any, step: Step) -> None:
        self.perform(step)

    body = {
        "start": start,
        "live": live,
        "pool": pool,
        "checkpointer": checkpointer,
        "told_as": told_as,
        "history_rules": rules,
        "places": places,
        "fewest_ranks": drawn.sizes[0],
        "entries": entries,
        "known": [],
    }
    made: Any = type(f"CheckpointHistory_{checkpointer.name}", (_JobMachine,), body)
    return made
