"""Runs the same work many times in one life of the ranks, and gives what grew as a value.

Guarantees: one run of one world, whose ranks are new; its directory is removed.  Every other check is held against that
run, too.  Work that breaks before its warm-up is over is an error: nothing follows from it.
Not covered: what ranks do and count (`faultkit.growth.turns`), and what is a violation (`faultkit.checks.growth`).

`Growth.to_json` writes one object:

    {"scenario", "world", "kind", "torch", "turn", "turns", "seconds", "verdict", "violations": [{"check", "verdict",
     "evidence", "ranks", "identity"}], "slopes": [{"measure", "rank", "slope", "error", "low", "high", "first", "last",
     "floor", "violation", "names"}]}
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from faultkit.checks import Violation, verdict_of
from faultkit.checks.growth import MEASURES, Grown, measure_in, slopes_in
from faultkit.checks.slopes import SAMPLES_MIN
from faultkit.exceptions import ArgumentError, HarnessError, ScenarioError
from faultkit.growth.turns import WARM_UP_MIN, Calls, Life, Turns
from faultkit.known import Identity, identities, identity_of
from faultkit.known.entries import Entry, Example, Occurrence
from faultkit.known.looking_up import sorted_by_example
from faultkit.known.sorting import Sorted
from faultkit.messages import seen
from faultkit.processes.directories import OwnedDirectory, in_memory
from faultkit.runs.selection import RECORDED
from faultkit.scenarios import Scenario, scenario_of
from faultkit.scenarios.derived import derive
from faultkit.scenarios.lookup import checkpointer_of

__all__ = ["SAVES", "SAVES_MAX", "SAVES_MIN", "Growth", "measure"]

SAVES = 200
SAVES_MIN = WARM_UP_MIN + SAMPLES_MIN
SAVES_MAX = 1_000  # what ranks record of each save has to fit their logs
TIMEOUT_SECONDS = 600.0
# torch keeps the last collectives of a process, 2,000 of them, and grows until it has them: a hundred saves
FLIGHT_RECORDER = {"TORCH_FR_BUFFER_SIZE": "16"}
KINDS = ("warm", "fresh", "spawn", "simulated")


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """How all that was counted went on each rank, and the violations of the run, worst first.

    `turns` is how many there were of what `turn` names, a save or a call; `story` tells the run where a check besides
    `growth` was broken.  `identities` has that of each violation.  `saves` is how many turns there should have been.
    `sorted` is what is known of what was found, None where nobody asked.
    """

    scenario: str
    world: int
    kind: str
    torch: str
    turn: str
    turns: int
    slopes: tuple[Grown, ...]
    violations: tuple[Violation, ...]
    seconds: float
    story: str = ""
    identities: tuple[Identity, ...] = ()
    seed: int = 0
    saves: int = 0
    sorted: Sorted | None = None

    @property
    def verdict(self) -> str:
        """The word for it."""
        return str(verdict_of(self.violations))

    @property
    def held(self) -> bool:
        """Whether no promise was broken."""
        return not self.violations

    @property
    def is_accepted(self) -> bool:
        """The same, but for what is known."""
        return self.held or (self.sorted is not None and self.sorted.held)

    @property
    def done(self) -> Example:
        """What shows it again."""
        return Example(
            campaign="growth",
            scenario=self.scenario,
            world=self.world,
            kind=self.kind,
            seed=self.seed,
            samples=self.saves,
        )

    @property
    def occurrences(self) -> tuple[Occurrence, ...]:
        """Every violation, as it is looked up among known ones."""
        return tuple(
            Occurrence(
                identity=identity, evidence=violation.evidence, scenario=self.scenario, example=self.done
            )
            for violation, identity in zip(self.violations, self.identities, strict=True)
        )

    def sorted_by(self, entries: Sequence[Entry]) -> Growth:
        """The same, with what `entries` know of it."""
        done = self.done if self.turns >= self.saves else None
        return msgspec.structs.replace(self, sorted=sorted_by_example(self.occurrences, entries, done))

    def text(self) -> str:
        """A table of the slopes and the violations, for a terminal."""
        from faultkit.growth.rendering import as_text

        return as_text(self)

    def to_json(self) -> str:
        found = {
            "scenario": self.scenario,
            "world": self.world,
            "kind": self.kind,
            "torch": self.torch,
            "turn": self.turn,
            "turns": self.turns,
            "seconds": round(self.seconds, 3),
            "verdict": self.verdict,
            "violations": [
                {
                    "check": violation.check,
                    "verdict": str(violation.verdict),
                    "evidence": violation.evidence,
                    "ranks": list(violation.ranks),
                    **({"identity": identity.to_builtins()} if identity is not None else {}),
                }
                for violation, identity in zip_longest(self.violations, self.identities)
            ],
            **({"known": self.sorted.to_builtins()} if self.sorted is not None else {}),
            "slopes": [
                {
                    "measure": one.measure,
                    "rank": one.rank,
                    "slope": one.slope.estimate,
                    "error": one.slope.error,
                    "low": one.slope.low,
                    "high": one.slope.high,
                    "first": one.first,
                    "last": one.last,
                    "floor": MEASURES[one.measure].floor,
                    "violation": one.is_violation,
                    "names": list(one.names),
                }
                for one in self.slopes
            ],
        }
        return json.dumps(found, indent=1) + "\n"

    def raise_for_violations(self) -> None:
        """Raises AssertionError with all that was found where a promise was broken."""
        __tracebackhide__ = True
        if not self.held:
            raise AssertionError(self.text())


def measure(
    work: Any,
    *,
    saves: int = SAVES,
    world: int = 2,
    kind: str = "warm",
    seed: int = 0,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Growth:
    """Do `work` so many times in one life of the ranks.

    Args:
        work: a checkpointer, whose turn is a save, a prune where it has such, and a load; or a
            `faultkit.scenarios.Scenario` (``dcp.load``) or a function, each call of which has a directory as it was
            prepared; or the name of one.
        saves: how many turns, from `SAVES_MIN` to `SAVES_MAX`, of which the first fifth, at least ten, is left out.
        world: how many ranks.
        kind: of the world; "auto" is none of one life.
        seed: of the random states.
        timeout_seconds: of all turns together.

    Returns:
        What grew, and what did not.

    Raises:
        ScenarioError: `work` is none, or does not come through its warm-up.
        ValueError: a number or a kind is out of range.
        HarnessError: ranks cannot be started, or what they counted did not come back.
    """
    from faultkit.torch_versions import torch_version
    from faultkit.worlds import World

    if isinstance(saves, bool) or not isinstance(saves, int) or not SAVES_MIN <= saves <= SAVES_MAX:
        raise ArgumentError(
            "growth", f"saves must be a number from {SAVES_MIN} to {SAVES_MAX} (got {seen(saves)})"
        )
    if kind not in KINDS:
        raise ArgumentError("growth", f"kind must be one of {', '.join(KINDS)} (got {seen(kind)})")
    began = time.monotonic()
    scenario, is_life = scenario_of_turns(work)
    scenario.validate_for(world)
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(scenario.served())
        preload = (*served.preload, "faultkit.growth.turns")
        ranks = stack.enter_context(
            World(world, kind=kind, timeout=timeout_seconds, seed=seed, preload=preload)
        )
        stack.enter_context(_environment(FLIGHT_RECORDER))
        ranks.prepare()
        place = OwnedDirectory("faultkit-growth-", in_memory(), preload=preload)
        stack.callback(place.close)
        turns = Turns(_life_of(served) if is_life else _calls_of(served, place.path, ranks), saves)
        directory = place.path / "checkpoints"
        directory.mkdir()
        run = ranks.run(turns, directory, no_check=("leaks", *RECORDED))  # what ranks record grows, too
    slopes = slopes_in(run)
    if not slopes:
        if run.dropped:
            raise HarnessError(f"the log of a rank is full after {saves} turns; measure fewer")
        raise ScenarioError(
            f"scenario {str(scenario)!r} does not come through the first {SAVES_MIN} turns, so that nothing can be "
            f"told of growth ({run.verdict})",
            run.story(replay=None),
        )
    return Growth(
        scenario=str(scenario),
        world=world,
        kind=kind,
        torch=torch_version(),
        turn=slopes[0].turn,
        turns=max(one.turns for one in slopes),
        slopes=slopes,
        violations=tuple(run.violations),
        identities=tuple(
            identity_of("growth", one.verdict, points=[measure_in(one)], roles=identity.roles)
            if one.check == "growth"
            else identity
            for one, identity in zip(run.violations, identities(run), strict=True)
        ),
        seed=seed,
        saves=saves,
        seconds=time.monotonic() - began,
        story=run.story(replay=None) if any(one.check != "growth" for one in run.violations) else "",
    )


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set meanwhile, for the ranks that begin, what nobody has set."""
    own = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


def scenario_of_turns(work: Any) -> tuple[Scenario, bool]:
    """What a turn is made of, and whether it is a checkpointer's life: then `function` is its save.

    Raises ScenarioError.
    """
    checkpointer, word = checkpointer_of(work)
    if checkpointer is None or word:
        return scenario_of(work), False
    name = str(checkpointer).partition(",")[0] if not isinstance(work, str) else work.partition(",")[0]
    return derive(checkpointer, "save", name=name), True


def _life_of(served: Scenario) -> Life:
    function: Any = served.function
    return Life(function.checkpointer)


def _calls_of(served: Scenario, place: Path, world: Any) -> Calls:
    prepared = None
    if served.prepare is not None:
        prepared = place / "prepared"
        prepared.mkdir()
        run = world.run(served.bound(served.prepare, prepared))
        if any(outcome.kind != "returned" for outcome in run.outcomes.values()):
            raise ScenarioError(
                f"scenario {str(served)!r} cannot be prepared: without any fault, it does not return on every rank",
                run.story(replay=None),
            )
    return Calls(
        served.function,
        dict(served.keywords),
        None if prepared is None else str(prepared),
        served.takes_directory,
    )
