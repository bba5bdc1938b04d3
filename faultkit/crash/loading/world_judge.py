"""`WorldJudge`: judges states by a load on several ranks with a process group between them.

For scenarios whose load cannot run alone (`Scenario.load_ranks`).  Each state is loaded once on all ranks of a
warm world, which is replaced when a load damages it; what each rank loaded is compared with what that rank loads
of the finished save.  One verdict comes of all ranks: the same on each, or MIX where some are new and some old,
or else the worst.  Left out, compared with `faultkit.crash.loading.judge`: pruning, a limit on memory, and a process
that is new for each state.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import shutil
from collections.abc import Callable, Generator, Iterable
from typing import Any

import msgspec

from faultkit.crash.enumeration.materialise import Objects, Place, link_tree
from faultkit.crash.enumeration.state import MIX, NEW, OLD, Judgement, State
from faultkit.crash.loading.judge import OTHER_FILL
from faultkit.crash.loading.load_worker import FILL, Answer, Job, LoadCall, answer_job
from faultkit.crash.loading.missing_checkpoint import empty_trees
from faultkit.exceptions import HarnessError, ScenarioError
from faultkit.plan.signatures import parameters_of
from faultkit.scenarios.scenario import Scenario

__all__ = ["WorldJudge"]

LEARN_SECONDS_MAX = 120.0  # the first load imports what the later ones find
WORST_FIRST = ("HUNG", "DIED", "GARBAGE", "ERROR", "MIX", "ABSENT", "OLD", "NEW")


class WorldJudge:
    """Loads states of one scenario on `scenario.load_ranks` ranks.  Used as `faultkit.crash.Judge` is."""

    pruning = False

    def __init__(self, scenario: Scenario, *, timeout_seconds: float = 10.0) -> None:
        self.scenario = scenario
        self.loaded = 0
        self.wrote = 0
        self._timeout_seconds = float(timeout_seconds)
        self._expected: list[tuple[bytes, bytes | None]] = []
        self._known: dict[str, Judgement] = {}
        self._absences: set[tuple[str, str]] = set()
        self._stack = contextlib.ExitStack()
        read = scenario.read
        assert read is not None  # `crash_scenario` gives it one
        names, anything = parameters_of(read)
        self._call = LoadCall(
            load=read,
            takes_fill=anything or "fill" in names,
            keywords=scenario.keywords_of(read),
            absent=scenario.absent,
            directory=scenario.root,
            timeout_seconds=self._timeout_seconds,
            memory_bytes=0,
            record_reads=False,
        )

    def __enter__(self) -> WorldJudge:
        from faultkit.worlds import World

        try:
            self._place = self._stack.enter_context(Place()).path
            self._objects = Objects(self._place / "objects")
            self._world = World(
                self.scenario.load_ranks, timeout=self._timeout_seconds, preload=self.scenario.preload
            )
            self._stack.callback(self._world.close)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the ranks and remove all files.  Closing twice is fine."""
        self._stack.close()

    def expect(
        self, new: dict[str, bytes | str | None], old: dict[str, bytes | str | None] | None = None
    ) -> None:
        """Say what a finished save, and the checkpoint before, look like.  Raises ScenarioError as `Judge` does."""
        new_values = self._learn(new, self.scenario.new, "the finished save")
        old_values: list[Any] = [None] * len(new_values)
        if old is not None:
            old_values = self._learn(old, self.scenario.old, "the checkpoint before")
            if not any(self._on_ranks(_differences_on_rank, new_values, old_values)):
                raise ScenarioError(f"scenario {str(self.scenario)!r}: OLD and NEW must differ on some rank")
        elif self.scenario.old is not None:
            old_values = self._on_ranks(
                _values_on_rank, self.scenario.old, self.scenario.keywords_of(self.scenario.old)
            )
        self._expected = list(zip(new_values, old_values, strict=True))
        if self.scenario.absent is None and old is None:
            for tree in empty_trees(new, self.scenario.root):
                for answer in self._answers(tree, Job(0, []), self._expected, LEARN_SECONDS_MAX):
                    if answer.verdict == "ERROR":
                        self._absences.add((answer.type_name, answer.message))

    def judge(self, state: State) -> Judgement:
        """What a load on all ranks makes of `state`."""
        known = self._known.get(state.key)
        if known is None:
            known = self._load(state)
            self._known[state.key] = known
        return known

    def judge_many(self, states: Iterable[State]) -> Generator[tuple[State, Judgement], None, None]:
        """Each of `states` with its judgement."""
        for state in states:
            yield state, self.judge(state)

    # -- inside ----------------------------------------------------------------------------------

    def _learn(self, tree: dict[str, Any], given: Callable[..., Any] | None, what: str) -> list[bytes]:
        loaded: list[list[bytes]] = []
        for fill in (FILL, OTHER_FILL):
            job = Job(0, [], want="values", fill=fill)
            answers = self._answers(tree, job, [], LEARN_SECONDS_MAX)
            for rank, answer in enumerate(answers):
                if answer.verdict != "VALUES":
                    told = " ".join(
                        part for part in (answer.type_name, answer.message, answer.detail) if part
                    )
                    raise ScenarioError(
                        f"scenario {str(self.scenario)!r}: {what} must load without any crash "
                        f"(got {answer.verdict} on rank {rank}: {told})"
                    )
            loaded.append([answer.values for answer in answers])
        unfilled = [name for names in self._on_ranks(_differences_on_rank, *loaded) for name in names]
        if unfilled:
            raise ScenarioError(
                f"scenario {str(self.scenario)!r}: the load of {what} must give the same whatever stood there "
                f"before (got differences in {', '.join(unfilled[:5])})"
            )
        if given is None:
            return loaded[0]
        return self._on_ranks(_values_on_rank, given, self.scenario.keywords_of(given))

    def _on_ranks(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        run = self._world.run(function, *args, timeout=LEARN_SECONDS_MAX)
        for rank, outcome in sorted(run.outcomes.items()):
            if outcome.kind != "returned":
                raise ScenarioError(
                    f"scenario {str(self.scenario)!r}: the values expected cannot be made on rank {rank}",
                    run.story(),
                )
        return [outcome.value for _, outcome in sorted(run.outcomes.items())]

    def _load(self, state: State) -> Judgement:
        self.loaded += 1
        answers = self._answers(state.tree, Job(self.loaded, []), self._expected, self._timeout_seconds)
        if any(answer.verdict == "HUNG" for answer in answers):  # once more: nobody else loads meanwhile
            self._objects.mend()
            answers = self._answers(state.tree, Job(self.loaded, []), self._expected, self._timeout_seconds)
        answers = [self._told_as_absent(answer) for answer in answers]
        if any(answer.wrote for answer in answers):
            self.wrote += 1
        self._objects.mend()
        return _of_all(answers)

    def _told_as_absent(self, answer: Answer) -> Answer:
        is_absent = answer.verdict == "ERROR" and (answer.type_name, answer.message) in self._absences
        return msgspec.structs.replace(answer, verdict="ABSENT") if is_absent else answer

    def _answers(self, tree: dict[str, Any], job: Job, expected: list[Any], seconds: float) -> list[Answer]:
        directory = self._place / "state"
        link_tree(self._objects.listing(tree), str(self._objects.directory), str(directory))
        try:
            run = self._world.run(_load_on_rank, job, self._call, expected, str(directory), timeout=seconds)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        answers = []
        for _, outcome in sorted(run.outcomes.items()):
            if outcome.kind == "returned":
                answers.append(outcome.value)
            elif outcome.kind == "hung":
                stack = str(getattr(outcome, "stack", ""))
                detail = f"no result within {seconds:g} s"
                answers.append(Answer(job.number, "HUNG", detail=detail, stack=stack))
            elif outcome.kind == "raised":  # what a load raises is an answer
                raise HarnessError(
                    f"faultkit failed where a state was loaded: {outcome.type_name}: {outcome.message}"
                )
            else:
                answers.append(Answer(job.number, "DIED", detail=str(outcome)))
        return answers


def _of_all(answers: list[Answer]) -> Judgement:
    verdicts = {answer.verdict for answer in answers}
    worst = min(answers, key=lambda answer: WORST_FIRST.index(answer.verdict))
    verdict = worst.verdict
    if verdicts <= {NEW, OLD} and len(verdicts) > 1:
        verdict = MIX
    elif verdict in ("ABSENT", "MIX") and len(verdicts) > 1 and "ABSENT" in verdicts:
        verdict = "ERROR"  # some ranks have a checkpoint and others have none
    detail = worst.detail
    if len(verdicts) > 1:
        detail = ", ".join(f"rank {rank} {answer.verdict}" for rank, answer in enumerate(answers))
        detail += f"; {worst.detail}" if worst.detail else ""
    return Judgement(
        verdict=verdict,
        type_name=worst.type_name,
        message=worst.message,
        detail=detail,
        stack=worst.stack,
        sides=tuple(sorted({side for answer in answers for side in answer.sides})),
    )


# -- on the ranks ----------------------------------------------------------------------------------


def _load_on_rank(job: Job, call: LoadCall, expected: list[Any], directory: str) -> Answer:
    import torch.distributed as dist

    own: tuple[Any, ...] = (None, None)
    if expected:
        own = tuple(None if one is None else pickle.loads(one) for one in expected[dist.get_rank()])
    try:
        return answer_job(job, call, own, directory)
    finally:
        logging.disable(logging.NOTSET)


def _differences_on_rank(ones: list[bytes], others: list[bytes]) -> list[str]:
    import torch.distributed as dist

    from faultkit.state_values import differences

    return differences(*(pickle.loads(side[dist.get_rank()]) for side in (ones, others)))


def _values_on_rank(function: Callable[..., Any], keywords: dict[str, Any]) -> bytes:
    from faultkit.crash.loading.compare import portable

    return pickle.dumps(portable(function(**keywords)))
