"""Saves three steps, damages the newest in one way after the other, and restarts the job on all ranks over each tree.

Guarantees: the three saves are whole, and a restart over them comes back to the newest, before anything is damaged.
Ranks are real processes with a process group, as many as saved.  Not covered: which trees (`faultkit.fallback.trees`),
and what is a violation (`faultkit.fallback.judging`).

`Fallback.to_json` writes one object:

    {"checkpointer", "work", "world", "torch", "seed", "cases": [{"damage", "action", "kind", "outcome", "ranks": {rank:
     text}, "violation": {"check", "verdict", "evidence"} or null}], "totals": {outcome or verdict: count}, "left_out",
     "seconds"}
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit import checkpointers
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checks import Verdict, verdict_of
from faultkit.checks.violation import Violation
from faultkit.crash.enumeration.materialise import Place
from faultkit.damage import ACTIONS as DAMAGES
from faultkit.exceptions import ArgumentError, ScenarioError
from faultkit.fallback.judging import Judge, Restart
from faultkit.fallback.trees import INCOMPLETE, Damaged, Saved, damaged_trees, saved_trees
from faultkit.known import Identity, identity_of
from faultkit.known.entries import Entry, Example, Occurrence
from faultkit.known.sorting import Sorted, sort
from faultkit.messages import listed, seen
from faultkit.scenarios.derived import derive

if TYPE_CHECKING:
    from faultkit.worlds import World

__all__ = ["ACTIONS", "WORK", "Case", "Fallback", "preloaded", "require_work", "survey"]

WORK = ("fallback", "prune")
ACTIONS = (*DAMAGES, INCOMPLETE)
UNDAMAGED = "nothing"
KEEPS_TWO = 2


class Case(msgspec.Struct, frozen=True):
    """One damage, and what a restart over it came to."""

    words: str
    action: str
    kind: str
    restart: Restart

    def identity_in(self, work: str) -> Identity:
        """What is the same in every survey of the violation that a restart over it broke: what it came to, whatever had
        been damaged."""
        gloss = self.restart.finding.gloss if self.restart.finding is not None else ""
        return identity_of(work, self.outcome, points=[gloss])

    @property
    def outcome(self) -> str:
        """A word of `faultkit.fallback.judging.OUTCOMES`, or the verdict of the violation."""
        finding = self.restart.finding
        return self.restart.outcome if finding is None else str(finding.verdict)


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """What every restart came to.  `left_out` cases were not tried, since the survey was interrupted.  There were at
    most `samples` for each of `actions` and kind of part.  `sorted` is what is known of it, None where nobody asked."""

    checkpointer: str
    work: str
    world: int
    torch: str
    seed: int
    cases: tuple[Case, ...]
    seconds: float
    left_out: int = 0
    samples: int = 0
    actions: tuple[str, ...] = ()
    sorted: Sorted | None = None

    @property
    def scenario(self) -> str:
        """``NAME.work``, by which it is looked up among known ones."""
        name, comma, options = self.checkpointer.partition(",")
        return f"{name}.{self.work}{comma}{options}"

    @property
    def is_accepted(self) -> bool:
        """Whether every restart came to what may be, but for what is known."""
        return self.held or (self.sorted is not None and self.sorted.held)

    @property
    def occurrences(self) -> tuple[Occurrence, ...]:
        """Every restart that came to what may not be, as it is looked up among known ones."""
        return tuple(_occurrence_of(case, self) for case in self.cases if case.restart.finding is not None)

    def sorted_by(self, entries: Sequence[Entry]) -> Fallback:
        """The same, with what `entries` know of it."""

        def covers(_: Entry, example: Example) -> bool:
            return (
                (example.campaign, example.scenario, example.world, example.seed)
                == ("damage", self.scenario, self.world, self.seed)
                and not self.left_out
                and 0 < example.samples <= self.samples
                and set(self.actions) >= set(ACTIONS)
            )

        return msgspec.structs.replace(self, sorted=sort(self.occurrences, entries, covers=covers))

    def known_as(self, case: Case) -> str:
        """The name under which what the restart of `case` came to is known; empty where it is not."""
        seen = _occurrence_of(case, self)
        return "" if self.sorted is None else self.sorted.names.get((seen.identity, seen.evidence), "")

    @property
    def violations(self) -> tuple[Violation, ...]:
        """One for each verdict and sentence, with the first damage that it follows from, worst first; the check is the
        work."""
        found: dict[Any, list[Case]] = {}
        for case in self.cases:
            finding = case.restart.finding
            if finding is not None:
                found.setdefault((finding.verdict, finding.sentence, finding.gloss), []).append(case)
        violations = [
            Violation(
                self.work, verdict, f"{_first_of(cases)}: {sentence}", tuple(cases[0].restart.ranks), gloss
            )
            for (verdict, sentence, gloss), cases in found.items()
        ]
        return tuple(sorted(violations, key=lambda one: one.verdict.severity))

    @property
    def verdict(self) -> Verdict:
        """The worst of the violations, HELD where there is none."""
        return verdict_of(self.violations)

    @property
    def held(self) -> bool:
        return self.verdict is Verdict.HELD

    @property
    def totals(self) -> dict[str, int]:
        """How many restarts came to each outcome."""
        return dict(Counter(case.outcome for case in self.cases))

    def text(self) -> str:
        """A table and the violations, for a terminal."""
        from faultkit.fallback.rendering import as_text

        return as_text(self)

    def to_json(self) -> str:
        cases = [
            {
                "damage": case.words,
                "action": case.action,
                "kind": case.kind,
                "outcome": case.outcome,
                "ranks": {str(rank): end for rank, end in case.restart.ranks.items()},
                "violation": None
                if case.restart.finding is None
                else {
                    "check": self.work,
                    "verdict": str(case.restart.finding.verdict),
                    "evidence": case.restart.finding.sentence,
                    "identity": case.identity_in(self.work).to_builtins(),
                    **({"known": self.known_as(case) or None} if self.sorted is not None else {}),
                },
            }
            for case in self.cases
        ]
        found = {
            "checkpointer": self.checkpointer,
            "work": self.work,
            "world": self.world,
            "torch": self.torch,
            "seed": self.seed,
            "cases": cases,
            "totals": self.totals,
            "left_out": self.left_out,
            **({"known": self.sorted.to_builtins()} if self.sorted is not None else {}),
            "seconds": round(self.seconds, 3),
        }
        return json.dumps(found, indent=1) + "\n"

    def raise_for_violations(self) -> None:
        """Raises AssertionError with all that was found where a restart came to what may not be."""
        __tracebackhide__ = True
        if not self.held:
            raise AssertionError(self.text())


def survey(
    checkpointer: Any,
    *,
    work: str = "fallback",
    world: World | int = 2,
    actions: Sequence[str] = ACTIONS,
    samples: int = 3,
    seed: int = 0,
    timeout_seconds: float = 20.0,
    on_interrupt: Callable[[Fallback], object] | None = None,
) -> Fallback:
    """Damage the newest of three checkpoints in one way after the other, and restart the job over each.

    Args:
        checkpointer: a `faultkit.Checkpointer`, or the name of one.
        work: "fallback", or "prune": all but the newest are pruned before the restart.
        world: how many ranks save and restart, or a `World` of processes that the caller owns.
        actions: names of `faultkit.damage.ACTIONS`, and "incomplete": what a kill during the newest save leaves.
        samples: at most so many damages of each action on each kind of part.
        seed: what they are drawn from.
        timeout_seconds: of each restart, in a world that is made here.
        on_interrupt: called with what was found until a KeyboardInterrupt, which then goes on.

    Returns:
        Every damage with what the restart came to.

    Raises:
        ScenarioError: there is no such checkpointer, it has no prune, or cannot save three steps and come back to the
            last.
        ValueError: an action or the work is not known, or a number is out of range.
    """
    from faultkit.torch_versions import torch_version
    from faultkit.worlds import World

    unknown = [action for action in actions if action not in ACTIONS]
    if unknown:
        raise ArgumentError(
            "fallback", f"an action must be one of {listed(ACTIONS)} (got {seen(unknown[0])})"
        )
    found = require_work(checkpointer, work)
    size = world.size if isinstance(world, World) else world
    derive(found, "save").validate_for(size)
    began = time.monotonic()
    cases: list[Case] = []
    left_out = 0
    with contextlib.ExitStack() as stack:
        if isinstance(world, World):
            ranks = world
        else:
            ranks = stack.enter_context(World(world, timeout=timeout_seconds, preload=preloaded(found)))
        place = stack.enter_context(Place())
        saved = saved_trees(found, ranks)
        judge = Judge(found, ranks, saved, place.path)
        _require_sound(found, judge, saved)
        trees = list(damaged_trees(saved, actions=tuple(actions), samples=samples, seed=seed))
        interrupted = False
        try:
            if work == "prune":
                cases += _pruned_whole(judge, saved)
            for tree in trees:
                cases.append(_case(judge, work, tree))
        except KeyboardInterrupt:
            interrupted, left_out = True, len(trees) - len(cases)
    result = Fallback(
        checkpointer=checkpointer if isinstance(checkpointer, str) else str(found),
        work=work,
        world=size,
        torch=torch_version(),
        seed=seed,
        cases=tuple(cases),
        seconds=time.monotonic() - began,
        left_out=max(0, left_out),
        samples=samples,
        actions=tuple(actions),
    )
    if interrupted:
        if on_interrupt is not None:
            on_interrupt(result)
        raise KeyboardInterrupt
    return result


def _occurrence_of(case: Case, found: Fallback) -> Occurrence:
    finding = case.restart.finding
    return Occurrence(
        identity=case.identity_in(found.work),
        evidence=case.words if finding is None else f"{case.words}: {finding.sentence}",
        scenario=found.scenario,
        example=Example(
            campaign="damage",
            scenario=found.scenario,
            world=found.world,
            seed=found.seed,
            samples=found.samples,
        ),
    )


def _first_of(cases: list[Case]) -> str:
    more = len(cases) - 1
    return cases[0].words + (f" (and after {more} more damage{'s' * (more > 1)})" if more else "")


def require_work(checkpointer: Any, work: str) -> Checkpointer:
    """The checkpointer, which can be put to `work`.  Raises ScenarioError, and ValueError for no word of `WORK`."""
    if work not in WORK:
        raise ArgumentError("fallback", f"work must be one of {listed(WORK)} (got {seen(work)})")
    found = checkpointers.get(checkpointer) if isinstance(checkpointer, str) else checkpointer
    if not isinstance(found, Checkpointer):
        raise ScenarioError(
            f"{seen(checkpointer)} is no checkpointer, and only such come back to an older checkpoint"
        )
    if found.server is not None:
        raise ScenarioError(
            f"checkpointer {str(found)!r} stores by a server, where no file can be damaged; name one that stores files"
        )
    if work == "prune":
        found.require_work("prune")
    return found


def preloaded(checkpointer: Checkpointer) -> tuple[str, ...]:
    """What the ranks of a world for this import once."""
    return (*derive(checkpointer, "save").preload, "faultkit.history.ranks")


def _require_sound(checkpointer: Checkpointer, judge: Judge, saved: Saved) -> None:
    for tree, wanted in ((saved.newest, "newest"), (saved.before, "older")):
        came = judge.restart(tree)
        if came.outcome != wanted:
            told = (
                came.finding.sentence if came.finding is not None else f"{came.outcome}: {dict(came.ranks)}"
            )
            raise ScenarioError(
                f"checkpointer {str(checkpointer)!r} must come back to the last of its saves with nothing damaged "
                f"(got {told})"
            )


def _pruned_whole(judge: Judge, saved: Saved) -> list[Case]:
    """Prunes of what is whole: all but one, and all but two, of which the older must be there."""
    return [
        Case(words, UNDAMAGED, "whole checkpoint", judge.prune_and_restart(saved.newest, keep))
        for words, keep in (
            ("nothing is damaged, one is kept", 1),
            ("nothing is damaged, two are kept", KEEPS_TWO),
        )
    ]


def _case(judge: Judge, work: str, tree: Damaged) -> Case:
    ask = judge.prune_and_restart if work == "prune" else judge.restart
    return Case(tree.words, tree.action, tree.kind, ask(tree.tree))
