"""The campaign: many states, saved on N ranks, and all that does not give them back the same everywhere.

First every sort of leaf by itself (`faultkit.reshard.states.battery`): what a save refuses, and what comes back from
nowhere, is told once and then drawn no more, so that it hides nothing else.  Then states drawn by Hypothesis, of what
is left.  Of a checkpointer that takes its own states alone, those of some steps.  Each sort of problem is made smaller
(`faultkit.reshard.shrink`) and told once.

Guarantees: the same seed tries the same states, as far as the budget goes.  Not covered: what one case is
(`faultkit.reshard.runner`), and telling it (`faultkit.reshard.rendering`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from faultkit.checkpointers.catalogue import get
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.requirements import require
from faultkit.checks import Verdict
from faultkit.exceptions import ScenarioError
from faultkit.known.entries import Entry, Example, Occurrence
from faultkit.known.looking_up import sorted_by_example
from faultkit.known.sorting import Sorted
from faultkit.messages import seen
from faultkit.plan.signatures import parameters_of
from faultkit.reshard.ranks import reader_names
from faultkit.reshard.runner import Case, CaseResult, Problem, Runner
from faultkit.reshard.shrink import smallest
from faultkit.reshard.states import OwnState, State, battery, written
from faultkit.strategies.recipes import DTYPES

__all__ = ["Findings", "Found", "Search", "draws", "explore", "require_sizes"]

FOUND_MAX = 12
OWN_STEPS = 3
ENTRIES_MAX = 5
SHRINKING_SHARE = 0.5  # of the budget, at most, for what was found first
REFUSED = "refused"  # in place of a verdict


class Found(msgspec.Struct, frozen=True):
    """A problem, the smallest case that has it, and where else the same was seen: numbers of ranks, readers."""

    problem: Problem
    case: Case
    also: tuple[str | int, ...] = ()


class Findings(msgspec.Struct):
    """What a campaign has found so far.  `refused` has by what was refused, a sort of leaf or a state, the error.

    `states` is how many were to be drawn, `only` the one that was tried alone; `sorted` what is known of it, None where
    nobody asked.
    """

    checkpointer: str
    save_on: int
    load_on: tuple[int, ...]
    seed: int = 0
    kind: str = "warm"
    views: tuple[str | int, ...] = ()
    found: list[Found] = []
    totals: dict[str, int] = {}
    refused: dict[str, str] = {}
    not_drawn: tuple[str, ...] = ()
    seconds: float = 0.0
    is_complete: bool = False
    states: int = 0
    only: str = ""
    sorted: Sorted | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether it was the same everywhere, but for what is known."""
        return not self.found or (self.sorted is not None and self.sorted.held)

    @property
    def done(self) -> Example:
        """What shows it again."""
        return Example(
            campaign="reshard",
            scenario=self.checkpointer,
            world=self.save_on,
            kind=self.kind,
            plan=self.only,
            seed=self.seed,
            samples=self.states,
            load_on=tuple(map(str, self.load_on)),
        )

    @property
    def occurrences(self) -> tuple[Occurrence, ...]:
        """Every problem, as it is looked up among known ones."""
        return tuple(
            Occurrence(
                identity=one.problem.identity,
                evidence=one.problem.evidence,
                scenario=self.checkpointer,
                example=self.done,
            )
            for one in self.found
        )

    def sort_by(self, entries: Sequence[Entry]) -> None:
        """Look up in `entries` what was found."""
        done = self.done if self.is_complete else None
        self.sorted = sorted_by_example(self.occurrences, entries, done)

    @property
    def compared_count(self) -> int:
        """How many states came to a verdict."""
        return sum(count for word, count in self.totals.items() if word != REFUSED)

    @property
    def verdict(self) -> Verdict:
        return min(
            (one.problem.verdict for one in self.found), key=lambda one: one.severity, default=Verdict.HELD
        )


def require_sizes(checkpointer: Checkpointer, save_on: int, load_on: tuple[int, ...]) -> None:
    """Raises ScenarioError where the checkpointer cannot be meant on these numbers of ranks."""
    for size in (save_on, *load_on):
        wrong = checkpointer.check(world_size=size, **checkpointer.keywords) if checkpointer.check else ""
        if wrong:
            raise ScenarioError(f"checkpointer {str(checkpointer)!r} on {size} ranks: {wrong}")
    others = sorted(set(load_on) - {save_on})
    if not checkpointer.reshards and others:
        raise ScenarioError(
            f"what checkpointer {str(checkpointer)!r} saved is loaded by as many ranks; load it on {save_on} "
            f"(got {seen(','.join(map(str, load_on)))})"
        )


def draws(checkpointer: Checkpointer) -> bool:
    """Whether states are drawn: the checkpointer takes any, and no option says which to save."""
    takes_any = checkpointer.state is None if checkpointer.any_state is None else checkpointer.any_state
    if checkpointer.state is None:
        return takes_any
    names, _ = parameters_of(checkpointer.state)
    return takes_any and not names & {name for name, _ in checkpointer.chosen}


def explore(
    checkpointer: Checkpointer | str,
    save_on: int,
    load_on: tuple[int, ...],
    *,
    states: int = 100,
    budget_seconds: float = 60.0,
    seed: int = 0,
    kind: str = "warm",
    timeout: float = 20.0,
    state: State | None = None,
    progress: Callable[[Findings], None] = lambda findings: None,
) -> Findings:
    """Run the campaign over a checkpointer, or the text of one; with `state` that one alone.

    `progress` is called with what there is after each case.

    Raises ScenarioError for sizes that cannot be meant, ValueError for a kind that is none, and as `World.run`.
    """
    under_test = get(checkpointer) if isinstance(checkpointer, str) else checkpointer
    require(under_test)
    require_sizes(under_test, save_on, load_on)
    findings = Findings(str(checkpointer), save_on, load_on, seed, kind)
    findings.states, findings.only = (states, "") if state is None else (0, written(state))
    with Runner(under_test, kind, timeout) as runner:
        search = Search(runner, findings, budget_seconds, progress)
        if state is not None:
            search.only(state)
        elif draws(under_test):
            search.battery()
            search.drawn(states, seed)
        else:
            search.own(min(states, OWN_STEPS))
    findings.seconds = search.seconds
    return findings


class Search:
    """Cases on one runner, and what they have found so far; `budget` is in seconds, from when this is made."""

    def __init__(
        self, runner: Runner, findings: Findings, budget: float, progress: Callable[[Findings], None]
    ) -> None:
        self.runner, self.findings, self.budget, self.progress = runner, findings, budget, progress
        self.readers = reader_names(runner.checkpointer)
        self.began = time.monotonic()
        self.signatures: set[Any] = set()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def only(self, state: State) -> None:
        result = self._run(state)
        self.findings.found = [
            Found(members[0], result.case, tuple(dict.fromkeys(one.view for one in members[1:])))
            for members in _alike(result.problems)
        ]
        self.findings.is_complete = True

    def battery(self) -> None:
        """Each sort of leaf by itself; what is never drawn afterwards is what nothing came of."""
        largest = max(self.findings.save_on, *self.findings.load_on)
        useless: Counter[str] = Counter()
        tried: Counter[str] = Counter()
        for sort, state in battery(largest):
            if self.seconds > self.budget:
                return
            result = self.try_state(state, sort)
            tried[sort] += 1
            lost = {one.view for one in result.problems}
            useless[sort] += (
                bool(result.refused) or "save" in lost or (bool(lost) and lost >= {*result.views})
            )
        sorts = [sort for sort in tried if sort]
        self.findings.not_drawn = tuple(sort for sort in sorts if useless[sort] == tried[sort])

    def drawn(self, count: int, seed: int) -> None:
        largest = max(self.findings.save_on, *self.findings.load_on)
        for state in _drawn(largest, count, seed, self.findings.not_drawn):
            if self.seconds > self.budget:
                return
            self.try_state(state)
        self.findings.is_complete = True

    def own(self, steps: int) -> None:
        for step in range(1, steps + 1):
            if self.seconds > self.budget:
                return
            self.try_state(OwnState(step))
        self.findings.is_complete = True

    def _run(self, state: State, sort: str = "") -> CaseResult:
        findings = self.findings
        result = self.runner.run(Case(state, findings.save_on, findings.load_on, self.readers))
        word = REFUSED if result.refused else str(result.verdict)
        findings.seconds = self.seconds
        findings.totals[word] = findings.totals.get(word, 0) + 1
        findings.views = tuple(dict.fromkeys((*findings.views, *result.views)))
        if result.refused:
            findings.refused.setdefault(sort or written(state), result.refused)
        self.progress(findings)
        return result

    def try_state(self, state: State, sort: str = "") -> CaseResult:
        """Run it, and make what is new about it as small as it gets; `sort` is that of its only leaf."""
        result = self._run(state, sort)
        for members in _alike(result.problems):
            problem = members[0]
            if problem.signature in self.signatures or len(self.findings.found) >= FOUND_MAX:
                continue
            self.signatures.update(member.signature for member in members)
            case = smallest(_narrowed(result.case, problem), result.leaves, self._asking(problem))
            again = [one for one in self.runner.run(case).problems if one.signature == problem.signature]
            also = tuple(dict.fromkeys(member.view for member in members[1:]))
            self.findings.found.append(Found(again[0] if again else problem, case, also))
            self.progress(self.findings)
        return result

    def _asking(self, problem: Problem) -> Callable[[Case], bool]:
        until = self.seconds + max(5.0, (self.budget - self.seconds) * SHRINKING_SHARE)

        def fails(case: Case) -> bool:
            if self.seconds > until or not self._can_be(case):
                return False
            return any(one.signature == problem.signature for one in self.runner.run(case).problems)

        return fails

    def _can_be(self, case: Case) -> bool:
        try:
            require_sizes(self.runner.checkpointer, case.save_on, case.load_on)
        except ScenarioError:
            return False
        return True


def _alike(problems: Iterable[Problem]) -> list[list[Problem]]:
    """Those that are taken for one, seen in several views; the worst first."""
    groups: dict[Any, list[Problem]] = {}
    for one in problems:
        kind = one.kind if one.verdict is Verdict.SILENT_WRONG else ""
        groups.setdefault((one.verdict, one.sort, kind), []).append(one)
    return sorted(groups.values(), key=lambda members: members[0].verdict.severity)


def _narrowed(case: Case, problem: Problem) -> Case:
    """The same with what the problem shows in, and nothing else."""
    if isinstance(problem.view, int):
        return Case(case.state, case.save_on, (problem.view,), ())
    return Case(case.state, case.save_on, (), () if problem.view == "save" else (problem.view,))


def _drawn(world_size: int, count: int, seed: int, without: tuple[str, ...]) -> Iterator[State]:
    """States as Hypothesis draws them, each once."""
    import hypothesis

    from faultkit.strategies.states import LEAF_FAMILIES, state_dicts

    dtypes = [dtype for dtype in DTYPES if dtype not in without] or [DTYPES[0]]
    families = [family for family in LEAF_FAMILIES if family not in without]
    strategy = state_dicts(world_size, max_size=ENTRIES_MAX, dtypes=dtypes, families=families)
    drawn: dict[str, State] = {}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        phases=[hypothesis.Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def draw(state: Any) -> None:
        drawn.setdefault(repr(state), state)

    draw()
    yield from drawn.values()
