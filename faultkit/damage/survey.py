"""Saves a checkpoint, damages it in one way after the other, and tells which damage a load notices.

Guarantees: the checkpoint is whole before it is damaged: a save that does not go through, or whose checkpoint does
not load, is an error.  Each damaged tree is judged as `faultkit.crash` judges its states: loaded by a process of
its own with a deadline and a memory limit, every element compared.  Not covered: repairing anything, and damage to
the checkpoint while it is loaded.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.damage.damages import ACTIONS, WHOLE_FILE, Damage, apply, damages_of
from faultkit.damage.outcomes import BROKEN, OUTCOMES
from faultkit.damage.regions import KINDS
from faultkit.exceptions import JournalError
from faultkit.journals import CampaignJournal
from faultkit.known.entries import Entry, Example, Occurrence
from faultkit.known.identity import Identity, file_name, identity_of
from faultkit.known.sorting import Sorted, sort
from faultkit.scenario_text import DAMAGE

if TYPE_CHECKING:
    from faultkit.crash import Judgement
    from faultkit.scenarios.scenario import Scenario
    from faultkit.worlds import World

__all__ = ["Case", "Survey", "survey", "trees_of"]


class Case(msgspec.Struct, frozen=True):
    """One damage and what a load made of it."""

    damage: Damage
    judgement: Judgement

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`."""
        return next(word for word, (_, verdicts) in OUTCOMES.items() if self.judgement.verdict in verdicts)

    @property
    def identity(self) -> Identity:
        """What is the same of it in every survey."""
        name = file_name(self.damage.path)
        return identity_of(
            "damage", self.outcome, points=[f"{self.damage.kind} ({name})"], actions=[self.damage.action]
        )

    @property
    def evidence(self) -> str:
        """Its words, by which it is recognised."""
        return f"{self.damage}: {self.detail}"

    @property
    def detail(self) -> str:
        error = ": ".join(part for part in (self.judgement.type_name, self.judgement.message) if part)
        return " ".join((error or self.judgement.detail).split())


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every damage.  `world` is the number of ranks that saved; `left_out` damages were not judged,
    since the survey was interrupted.  There were at most `samples` for each kind of region and action.  `sorted` is
    what is known of what was found, None where nobody asked."""

    scenario: str
    world: int
    torch: str
    seed: int
    cases: tuple[Case, ...]
    seconds: float
    left_out: int = 0
    samples: int = 0
    sorted: Sorted | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether every load came back with the right data or raised, but for what is known."""
        return self.held or (self.sorted is not None and self.sorted.held)

    @property
    def occurrences(self) -> tuple[Occurrence, ...]:
        """Every damage that a load did not survive or notice, as it is looked up among known ones."""
        example = Example(
            campaign="damage", scenario=self.scenario, world=self.world, seed=self.seed, samples=self.samples
        )
        return tuple(
            Occurrence(
                identity=case.identity, evidence=case.evidence, scenario=self.scenario, example=example
            )
            for case in self.cases
            if case.outcome in BROKEN
        )

    def sorted_by(self, entries: Sequence[Entry]) -> Survey:
        """The same, with what `entries` know of it."""
        actions = set(self.actions)

        def covers(entry: Entry, example: Example) -> bool:
            return (
                (example.campaign, example.scenario, example.world, example.seed)
                == ("damage", self.scenario, self.world, self.seed)
                and not self.left_out
                and 0 < example.samples <= self.samples
                and all(action in actions for pattern in entry.patterns for action in pattern.action)
            )

        return msgspec.structs.replace(self, sorted=sort(self.occurrences, entries, covers=covers))

    def known_as(self, case: Case) -> str:
        """The name under which what became of `case` is known; empty where it is not."""
        if self.sorted is None or case.outcome not in BROKEN:
            return ""
        return self.sorted.names.get((case.identity, case.evidence), "")

    @property
    def silent(self) -> tuple[Case, ...]:
        """The damage that no load noticed although the data is wrong."""
        return tuple(case for case in self.cases if case.outcome == "WRONG")

    @property
    def held(self) -> bool:
        """Whether every load came back with the right data or raised."""
        return not any(case.outcome in BROKEN for case in self.cases)

    @property
    def totals(self) -> dict[str, int]:
        counts = {word: sum(case.outcome == word for case in self.cases) for word in OUTCOMES}
        return {word: count for word, count in counts.items() if count}

    def cell(self, kind: str, action: str) -> tuple[Case, ...]:
        """The cases of one place of the table."""
        return tuple(case for case in self.cases if (case.damage.kind, case.damage.action) == (kind, action))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The rows of the table: kinds of regions in the order of `KINDS`, whole files last."""
        seen = {case.damage.kind for case in self.cases}
        return tuple(kind for kind in (*KINDS, WHOLE_FILE) if kind in seen)

    @property
    def actions(self) -> tuple[str, ...]:
        seen = {case.damage.action for case in self.cases}
        return tuple(action for action in ACTIONS if action in seen)

    def text(self, width: int | None = None) -> str:
        """The table and the silent damage, for a terminal."""
        from faultkit.damage.rendering import as_text

        return as_text(self, width)

    def to_json(self) -> str:
        cases = [
            {
                "damage": str(case.damage),
                **msgspec.structs.asdict(case.damage),
                "outcome": case.outcome,
                "verdict": case.judgement.verdict,
                "detail": case.detail,
                **({"identity": case.identity.to_builtins()} if case.outcome in BROKEN else {}),
                **({"known": self.known_as(case) or None} if self.sorted is not None else {}),
            }
            for case in self.cases
        ]
        found = {
            "scenario": self.scenario,
            "world": self.world,
            "torch": self.torch,
            "seed": self.seed,
            "cases": cases,
            "totals": self.totals,
            "left_out": self.left_out,
            "samples": self.samples,
            "seconds": round(self.seconds, 3),
            **({"known": self.sorted.to_builtins()} if self.sorted is not None else {}),
        }
        return json.dumps(found, indent=1) + "\n"

    def raise_for_violations(self) -> None:
        """Raises AssertionError with the whole table where a load took damaged data for good, hung or died."""
        __tracebackhide__ = True
        if not self.held:
            error = AssertionError(self.text())
            error.__dict__["faultkit_found"] = self
            raise error

    raise_for_silent_damage = raise_for_violations  # the earlier name


def survey(
    scenario: Any,
    *,
    world: World | int = 2,
    actions: Sequence[str] = ACTIONS,
    samples: int = 3,
    seed: int = 0,
    workers: int = 2,
    timeout_seconds: float = 10.0,
    memory_bytes: int = 1 << 30,
    on_progress: Callable[[int, int], None] | None = None,
    on_interrupt: Callable[[Survey], object] | None = None,
    journal_path: str | None = None,
) -> Survey:
    """Damage the checkpoint that `scenario` saves, one thing at a time, and judge each damaged tree.

    Args:
        scenario: a `faultkit.scenarios.Scenario`, a checkpointer, a function that saves, or the name of one;
            ``dcp-save`` is the checkpoint of ``dcp-overwrite``, and what is named of a checkpointer that of its save.
        world: how many ranks save, or a `World` that the caller owns.
        actions: names of `ACTIONS`; a file is replaced by an older one where the scenario has a `prepare`.
        samples: at most so many damages for each kind of region and each action.
        seed: what they are drawn from.
        workers: processes that load, side by side.
        timeout_seconds: of each load.
        memory_bytes: of each load.
        on_progress: called after each damage with how many are done, and of how many.
        on_interrupt: called with what was found until a KeyboardInterrupt, which then goes on.
        journal_path: a file that keeps the checkpoint, and what each load made of it as it comes; where it is there,
            what it holds is not done again.

    Returns:
        Every damage with what a load made of it.

    Raises:
        ScenarioError: the checkpoint cannot be made or loaded.
        ValueError: an action is not known; JournalError, one of these, where the journal is of another survey.
    """
    from faultkit.crash.enumeration.state import Judgement, State, Witness
    from faultkit.crash.scenario import crash_scenario
    from faultkit.worlds import World

    scenario = crash_scenario(scenario, DAMAGE)
    scenario.validate_for(world.size if isinstance(world, World) else world)
    began = time.monotonic()
    interrupted = False
    judged: dict[str, Judgement] = {}
    size = world.size if isinstance(world, World) else world
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(scenario.served())

        def saved() -> tuple[Tree, Tree | None]:
            if isinstance(world, World):
                return trees_of(served, world)
            with World(size, preload=scenario.preload) as own:
                return trees_of(served, own)

        journal: CampaignJournal[Judgement] | None = None
        if journal_path is None:
            new, older = saved()
        else:
            about = {"scenario": str(scenario), "world": size, "actions": list(actions), "samples": samples,
                     "seed": seed}  # fmt: skip
            journal = stack.enter_context(CampaignJournal(journal_path, "damage", about, Judgement))
            new, older = _trees_in(journal.made(lambda: _bytes_of(saved())), journal_path)
        damages = damages_of(new, older, actions=tuple(actions), samples=samples, seed=seed)
        states = [
            State(key=str(number), witness=Witness(model="damage", done=()), tree=apply(new, damage, older))
            for number, damage in enumerate(damages)
        ]
        with _judge(served, size, workers, timeout_seconds, memory_bytes) as judge:
            judge.expect(new, older)
            try:
                pairs = (
                    judge.judge_many(states)
                    if journal is None
                    else journal.answered(states, judge.judge_many)
                )
                for state, judgement in pairs:
                    judged[state.key] = judgement
                    if on_progress is not None:
                        on_progress(len(judged), len(states))
            except KeyboardInterrupt:
                interrupted = True
    found = Survey(
        scenario=str(scenario),
        world=size,
        torch=importlib.metadata.version("torch"),
        seed=seed,
        cases=tuple(
            Case(damage, judged[str(number)])
            for number, damage in enumerate(damages)
            if str(number) in judged
        ),
        seconds=time.monotonic() - began,
        left_out=len(damages) - len(judged),
        samples=samples,
    )
    if interrupted:
        if on_interrupt is not None:
            on_interrupt(found)
        raise KeyboardInterrupt
    return found


def _judge(scenario: Scenario, size: int, workers: int, timeout_seconds: float, memory_bytes: int) -> Any:
    """What judges a load: one process, or as many ranks as the load of the scenario needs."""
    from faultkit import crash
    from faultkit.crash.loading.world_judge import WorldJudge

    ranks = scenario.load_ranks or size
    if ranks > 1:
        scenario = msgspec.structs.replace(scenario, load_ranks=ranks)
        return WorldJudge(scenario, timeout_seconds=timeout_seconds)
    return crash.Judge(scenario, workers=workers, timeout_seconds=timeout_seconds, memory_bytes=memory_bytes)


Tree = dict[str, bytes | str | None]
_Named = list[tuple[bytes, bytes | None]]


def _bytes_of(trees: tuple[Tree, Tree | None]) -> bytes:
    named = [tree and [(os.fsencode(path), content) for path, content in tree.items()] for tree in trees]
    return msgspec.msgpack.encode(named)


def _trees_in(kept: bytes, journal_path: str) -> tuple[Tree, Tree | None]:
    try:
        new, older = msgspec.msgpack.decode(kept, type=tuple[_Named, _Named | None])
    except (msgspec.MsgspecError, ValueError) as error:
        raise JournalError(f"journal {journal_path!r} holds no checkpoint: {error}") from None
    return _tree(new), _tree(older) if older is not None else None


def _tree(named: _Named) -> Tree:
    tree = {os.fsdecode(path): content for path, content in named}
    for path in tree:
        if os.path.isabs(path) or ".." in path.split("/") or "\0" in path:
            raise JournalError(f"a file of the checkpoint in a journal must lie within it (got {path!r})")
    return tree  # type: ignore[return-value]


def trees_of(scenario: Scenario, world: World) -> tuple[Tree, Tree | None]:
    """What `scenario` saves, and what it saved before (None where it does not), each in a fresh directory."""
    new = _saved(scenario, scenario.function, world)
    return new, _saved(scenario, scenario.prepare, world) if scenario.prepare is not None else None


def _saved(scenario: Scenario, save: Callable[..., Any], world: World) -> Tree:
    from faultkit.crash.enumeration.materialise import Place
    from faultkit.exceptions import ScenarioError

    with Place() as place:
        root = place.path
        directory = root / scenario.root
        if scenario.needs_directory:
            directory.mkdir()
        run = world.run(scenario.bound(save, directory))
        if any(outcome.kind != "returned" for outcome in run.outcomes.values()):
            name = getattr(save, "__name__", "save")
            raise ScenarioError(
                f"scenario {str(scenario)!r}: without any damage, {name} does not return on every rank",
                run.story(replay=None),
            )
        return {
            str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
            for path in sorted(root.rglob("*"))
        }
