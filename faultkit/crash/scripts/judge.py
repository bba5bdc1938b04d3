"""`ScriptJudge`: resumes a script from states in processes that have not imported torch.

For scripts that do not need torch either: a start of it would cost more than all their resumptions.  Used as
`faultkit.crash.Judge` is.  Workers are interpreters of their own that fork for every state, so each resumption is a
fresh process with a directory of its own, which ends at its deadline with all it started.  What a script imports,
it imports in each of them.  A state that answers alike all that an earlier resumption asked of its files is judged by
that one; resumptions by several ranks, or by programs of another language, are not followed.  Not covered: a limit on
memory beyond that of the system, and OLD: a training that is resumed has one right result.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import msgspec

from faultkit.crash.enumeration.state import Judgement, State
from faultkit.crash.loading.pruning import load_all, settle_all
from faultkit.crash.loading.read_memo import ReadMemo
from faultkit.crash.loading.worker_pool import Answer
from faultkit.crash.scripts.pool import Tree, Workers
from faultkit.exceptions import ScenarioError
from faultkit.scenarios.scenario import Scenario

__all__ = ["ScriptJudge"]


class ScriptJudge:
    """Resumes the script of `scenario`, whose load is a `faultkit.crash.scripts.resume.Resumption`, on `workers` states
    at a time, each for at most `timeout_seconds`.  A context manager.

    workers: how many, or those that have been started already, which `close` ends as well.

    loaded: how many resumptions have run.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        workers: int | Workers = 2,
        pruning: bool = True,
        timeout_seconds: float = 60.0,
    ) -> None:
        self.scenario = scenario
        self.pruning = pruning
        self.loaded = 0
        self.wrote = 0
        self._workers = workers
        self._timeout_seconds = timeout_seconds
        self._expected: Any = None
        self._by_key: dict[str, Judgement] = {}
        resumption: Any = scenario.read
        self._knowledge = ReadMemo(lambda tree: resumption.newest_in(tree, scenario.root))

    def __enter__(self) -> ScriptJudge:
        self._pool = Workers(self._workers) if isinstance(self._workers, int) else self._workers
        try:
            self._pool.resume_with(self.scenario.read, self.scenario.root, self._timeout_seconds)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and what they resume; they remove their files.  Closing twice is fine."""
        self._pool.close()

    def expect(self, new: Tree, old: Tree | None = None) -> None:
        """Learn the right result from the finished save.  Raises ScenarioError where it cannot be resumed, or comes to
        another result each time."""
        first, second = self._twice(new)
        if first.verdict != "VALUES":
            told = " ".join(part for part in (first.type_name, first.message, first.detail) if part)
            raise ScenarioError(
                f"scenario {str(self.scenario)!r}: the finished save must load without any crash "
                f"(got {first.verdict}: {told})"
            )
        if wrong := _differences(first.values, second.values or {}):
            raise ScenarioError(
                f"scenario {str(self.scenario)!r}: two resumptions of the finished save must come to the same "
                f"(got differences in {', '.join(wrong)})"
            )
        if self.scenario.refuse is not None and (why := self.scenario.refuse(first.values)):
            raise ScenarioError(f"scenario {str(self.scenario)!r}: {why}")
        self._expected = first.values
        if first.questions is None or ("tree",) in first.questions:
            self.pruning = False  # it reads where nobody can look on

    def judge(self, state: State) -> Judgement:
        """What the resumption makes of `state`."""
        return next(judgement for _, judgement in self.judge_many([state]))

    def load_many(self, states: Iterable[State]) -> Generator[tuple[State, Judgement], None, None]:
        """Each of `states` with what its resumption came to, resumed for sure, whatever is known."""
        return load_all(states, self._pool, self._remember)

    def judge_many(self, states: Iterable[State]) -> Generator[tuple[State, Judgement], None, None]:
        """Each of `states` with its judgement, in the order in which they come to be known."""
        return settle_all(states, self._pool, self._known, self._remember)

    def not_asked(self, state: State, judgement: Judgement) -> frozenset[tuple[str, Any]]:
        """What of `state`, judged without a load, the load that answered for it never asked for."""
        return self._knowledge.not_asked(state, judgement)

    # -- inside ----------------------------------------------------------------------------------

    def _twice(self, tree: Tree) -> list[Answer]:
        answers: list[Answer] = []
        begun = 0
        while len(answers) < 2:
            while begun < 2 and self._pool.free():
                self._pool.resume(tree)
                begun += 1
            answers += [answer for _, answer in self._pool.finished(wait=True)]
        return answers

    def _known(self, state: State) -> tuple[Judgement | None, Any]:
        by_key = self._by_key.get(state.key)
        if by_key is not None or not self.pruning:
            return by_key, state.key
        return self._knowledge.look_up(state)

    def _remember(self, state: State, answer: Answer) -> Judgement:
        self.loaded += 1
        verdict, detail = answer.verdict, answer.detail
        sides: tuple[str, ...] = ()
        if verdict == "VALUES":
            wrong = _differences(answer.values, self._expected)
            verdict = "GARBAGE" if wrong else "NEW"
            detail = f"another {', another '.join(wrong)} than without a crash" if wrong else ""
            sides = tuple(f"wrong {name}" for name in wrong)
        judgement = Judgement(
            verdict, answer.type_name, answer.message, detail, sides=sides, step=answer.step
        )
        answered = self._by_key[state.key] = msgspec.structs.replace(judgement, loaded=False)
        if self.pruning and answer.questions is not None:
            self._knowledge.learn(state, answer.questions, answered)
        return judgement


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    # Of text and bytes alone; `faultkit.state_values` would import torch.
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]
