"""`Judge`: loads states of one scenario, each in a fresh process, and says what each load made of its state.

Guarantees: a state that answers every question of an earlier load alike is judged by that load
(`faultkit.crash.loading.read_memo`); with ``pruning=False`` each state is loaded.  A load that hangs, dies or eats
memory is a verdict, never an exception here.  Everything ends with `close`, or with this process.  Not covered: states
whose load needs another load's leavings.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Generator, Iterable
from typing import Any

import msgspec

from faultkit.crash.enumeration.state import Judgement, State
from faultkit.crash.loading.load_pool import Loaders
from faultkit.crash.loading.load_worker import FILL, Answer, Job, LoadCall
from faultkit.crash.loading.missing_checkpoint import empty_trees
from faultkit.crash.loading.pruning import load_all, settle_all
from faultkit.crash.loading.read_memo import ReadMemo
from faultkit.exceptions import ScenarioError
from faultkit.plan.signatures import parameters_of
from faultkit.processes import serialization
from faultkit.scenarios.scenario import Scenario

__all__ = ["Judge"]

OTHER_FILL = 99.0
WORKER_COUNT_MAX = 64


class Judge:
    """Loads states of one scenario.  A context manager.

        with Judge(scenario, workers=2) as judge:
            judge.expect(new_tree, old_tree)        # what a finished save, and the checkpoint before, look like
            judge.judge(state)                      # Judgement
            for state, judgement in judge.judge_many(states): ...     # in any order, on all workers

    Args:
        scenario: whose `load` is called.
        workers: processes that load, side by side.
        pruning: whether a state that answers every question of an earlier load alike is judged by that load.
        timeout_seconds: of each load.
        memory_bytes: of each load.

    Attributes:
        loaded: how many loads have run.
        wrote: how many of them wrote to the files they were given.

    Raises:
        ValueError: a number is out of range.
        HarnessError: no process can be started.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        workers: int = 2,
        pruning: bool = True,
        timeout_seconds: float = 10.0,
        memory_bytes: int = 1 << 30,
    ) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= WORKER_COUNT_MAX:
            raise ValueError(
                f"Judge: workers must be a number from 1 to {WORKER_COUNT_MAX} (got {workers!r})"
            )
        if not 0 < timeout_seconds <= 3600:
            raise ValueError(
                f"Judge: timeout_seconds must be above 0 and at most 3600 (got {timeout_seconds!r})"
            )
        self.scenario = scenario
        self.pruning = pruning and scenario.prunable
        self.loaded = 0
        self.wrote = 0
        self._knowledge = ReadMemo()
        self._by_key: dict[str, Judgement] = {}
        self._absences: set[tuple[str, str]] = set()  # what a load raises where there is no checkpoint
        call = _load_call(scenario, float(timeout_seconds), int(memory_bytes))
        preload = ("faultkit.crash.loading.load_worker", "faultkit.crash.loading.compare", *scenario.preload)
        self._loaders = Loaders(workers, call, preload)

    # -- life ------------------------------------------------------------------------------------

    def __enter__(self) -> Judge:
        self._loaders.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and remove all files.  Closing twice is fine."""
        self._loaders.close()

    # -- what is expected ------------------------------------------------------------------------

    def expect(
        self, new: dict[str, bytes | str | None], old: dict[str, bytes | str | None] | None = None
    ) -> None:
        """Say what a finished save, and the checkpoint before, look like; `old` is None for a fresh directory.

        Raises ScenarioError where one of them does not load as what was saved, where a load leaves elements as it
        found them, or where NEW and OLD are the same.  A finished save with other values than the scenario's own
        `new` is not an error here: it is a state like any other.
        """
        scenario = self.scenario
        try:
            loaded = [self._values(new, fill, "the finished save") for fill in (FILL, OTHER_FILL)]
        except ScenarioError:
            if scenario.new is None:
                raise
            loaded = []  # what it should be is known, and that it is not will be found
        before = [self._values(old, FILL, "the checkpoint before")] if old is not None else []
        given = [
            (one, scenario.keywords_of(one)) if one is not None else None
            for one in (scenario.new, scenario.old)
        ]
        new_values, old_values, unfilled, wrong, differ, refused = self._call(
            _settle_expected, loaded, before, given, scenario.refuse
        )
        if refused:
            raise ScenarioError(f"scenario {str(scenario)!r}: {refused}")
        if unfilled:
            raise ScenarioError(
                f"scenario {str(scenario)!r}: the load of the finished save must give the same whatever stood there "
                f"before (got differences in {', '.join(unfilled[:5])})"
            )
        if wrong:
            raise ScenarioError(
                f"scenario {str(scenario)!r}: the checkpoint before must load as what was saved, without any crash "
                f"(got other values in {', '.join(wrong[:5])})"
            )
        if not differ:
            raise ScenarioError(
                f"scenario {str(scenario)!r}: OLD and NEW must differ, or no state could be told from another "
                "(got two that are the same)"
            )
        self._loaders.tell("expected", new_values, old_values)
        if scenario.absent is None and old is None:
            for tree in empty_trees(new, scenario.root):
                answer = self._loaders.ask(Job(self._loaders.number(), self._loaders.objects.listing(tree)))
                if answer.verdict == "ERROR":
                    self._absences.add((answer.type_name, answer.message))

    # Values are bytes here: this process need not import torch.

    def _values(self, tree: dict[str, Any], fill: float, what: str) -> bytes:
        job = Job(self._loaders.number(), self._loaders.objects.listing(tree), want="values", fill=fill)
        answer = self._loaders.ask(job)
        if answer.opaque:
            self.pruning = False  # it reads where nobody can look on
        if answer.verdict != "VALUES":
            told = " ".join(part for part in (answer.type_name, answer.message, answer.detail) if part)
            raise ScenarioError(
                f"scenario {str(self.scenario)!r}: {what} must load without any crash "
                f"(got {answer.verdict}: {told})",
                answer.stack,
            )
        values: bytes = answer.values
        return values

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        body = serialization.dumps(functools.partial(function, *args))
        answer = self._loaders.ask(Job(self._loaders.number(), [], want="call", body=body))
        if answer.verdict != "VALUES":
            raise ScenarioError(
                f"scenario {str(self.scenario)!r}: the values expected cannot be made "
                f"(got {answer.verdict}: {answer.type_name} {answer.message}{answer.detail})"
            )
        return pickle.loads(answer.values)

    # -- judging ---------------------------------------------------------------------------------

    def judge(self, state: State) -> Judgement:
        """What a load makes of `state`."""
        return next(judgement for _, judgement in self.judge_many([state]))

    def load_many(self, states: Iterable[State]) -> Generator[tuple[State, Judgement], None, None]:
        """Each of `states` with what a load makes of it, loaded for sure, whatever is known."""
        return load_all(states, self._loaders, self._remember)

    def judge_many(self, states: Iterable[State]) -> Generator[tuple[State, Judgement], None, None]:
        """Each of `states` with its judgement, in the order in which they come to be known."""
        return settle_all(states, self._loaders, self._known, self._remember)

    def not_asked(self, state: State, judgement: Judgement) -> frozenset[tuple[str, Any]]:
        """What of `state`, judged without a load, the load that answered for it never asked for."""
        return self._knowledge.not_asked(state, judgement)

    # -- inside ----------------------------------------------------------------------------------

    def _known(self, state: State) -> tuple[Judgement | None, Any]:
        by_key = self._by_key.get(state.key)
        if by_key is not None:
            return by_key, None
        if not self.pruning:
            return None, state.key
        return self._knowledge.look_up(state)

    def _remember(self, state: State, answer: Answer) -> Judgement:
        self.loaded += 1
        is_absent = answer.verdict == "ERROR" and (answer.type_name, answer.message) in self._absences
        judgement = Judgement(
            verdict="ABSENT" if is_absent else answer.verdict,
            type_name=answer.type_name,
            message=answer.message,
            detail=answer.detail,
            stack=answer.stack,
            sides=answer.sides,
            step=answer.step,
        )
        if answer.wrote:
            self.wrote += 1
            self._loaders.objects.mend()
        answered = msgspec.structs.replace(judgement, loaded=False)
        self._by_key[state.key] = answered
        if self.pruning and answer.questions is not None:
            self._knowledge.learn(state, answer.questions, answered)
        return judgement


def _load_call(scenario: Scenario, timeout_seconds: float, memory_bytes: int) -> LoadCall:
    read = scenario.read
    assert read is not None  # `crash_scenario` gives it one
    names, anything = parameters_of(read)
    return LoadCall(
        load=read,
        takes_fill=anything or "fill" in names,
        keywords=scenario.keywords_of(read),
        absent=scenario.absent,
        directory=scenario.root,
        timeout_seconds=timeout_seconds,
        memory_bytes=memory_bytes,
        record_reads=scenario.prunable,
    )


def _settle_expected(
    loaded: list[bytes],
    before: list[bytes],
    given: list[Any],
    refuse: Callable[[Any], str | None] | None,
) -> tuple[Any, ...]:
    """(NEW, OLD or None, leaves left unfilled, leaves of OLD that are wrong, whether OLD and NEW differ, why nothing
    follows from NEW)."""
    from faultkit.crash.loading.compare import portable
    from faultkit.state_values import differences

    def made(which: int) -> bytes | None:
        if given[which] is None:
            return None
        function, keywords = given[which]
        return pickle.dumps(portable(function(**keywords)))

    new, old = made(0) or loaded[0], made(1) or (before[0] if before else None)
    read = [pickle.loads(one) for one in loaded]
    return (
        new,
        old,
        differences(*read) if read else [],
        differences(pickle.loads(old), pickle.loads(before[0])) if old is not None and before else [],
        old is None or bool(differences(pickle.loads(new), pickle.loads(old))),
        refuse(pickle.loads(new)) if refuse is not None else None,
    )


def _differences(one: bytes, other: bytes) -> list[str]:
    """Names of the leaves in which two pickled values differ; for a process that has torch."""
    from faultkit.state_values import differences

    return differences(pickle.loads(one), pickle.loads(other))
