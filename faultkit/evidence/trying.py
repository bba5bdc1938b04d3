"""`reproduce`: each candidate is run, and its picture compared with that of the evidence.

Guarantees: simulated ranks first, where they can do the work; the best is confirmed on processes, whose picture is
the one that counts.  Candidates of the same likeness are told as that.  Not covered: jobs whose own code decides,
unless it is given by `scenario`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from faultkit.evidence.candidates import Candidate, candidates_for, scenario_for
from faultkit.evidence.mapping import Mapping, mapped
from faultkit.evidence.pictures import Shown, likeness, picture_of_evidence, picture_of_run
from faultkit.evidence.telling import Told
from faultkit.exceptions import PlanError
from faultkit.runs.timeline import Timeline, timeline_of

__all__ = ["ENOUGH", "Reproduction", "Tried", "reproduce"]

ENOUGH = 0.75
TIMEOUT_SECONDS = 20.0


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate that was run: `likeness` from 0 to 1, `differs` are the ranks that showed something else.

    `shown` is what each rank of its world showed, by rank; `story` and `timeline` are those of the run.
    """

    plan: str
    small_plan: str
    why: str
    likeness: float
    verdict: str
    kind: str
    differs: tuple[int, ...] = ()
    shown: tuple[str, ...] = ()
    story: str = ""
    timeline: Timeline | None = None


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """All that was tried, best first; `best` is None where none gives the picture."""

    told: Told
    scenario: str
    mapping: Mapping
    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried | None:
        return self.tried[0] if self.tried and self.tried[0].likeness >= ENOUGH else None


def reproduce(
    told: Told,
    *,
    scenario: Any = None,
    world: int | None = None,
    on_progress: Callable[[str], object] | None = None,
) -> Reproduction:
    """Run what could have done it, and compare.

    Args:
        told: what follows from the evidence.
        scenario: what the job does; None for the built-in one that fits.
        world: ranks; None for as many as the job has, or a few that stand for all of a large one.
        on_progress: called with each plan before it runs.

    Raises:
        ScenarioError: the scenario is not known, or does not hold without a fault.
        HarnessError: ranks cannot be started.
    """
    work = scenario if scenario is not None else scenario_for(told)
    mapping = mapped(told.evidence.world_size, told.suspects, world)
    picture = picture_of_evidence(told.evidence)
    small = {place: picture[rank] for place, rank in enumerate(mapping.ranks) if rank in picture}
    tried: list[Tried] = []
    with (
        _Bench(work, mapping.size, "simulated") as simulated,
        _Bench(work, mapping.size, "warm") as processes,
    ):
        by_plan: dict[str, Candidate] = {}
        for candidate in candidates_for(told):
            if on_progress is not None:
                on_progress(str(candidate.plan))
            one = simulated.run(candidate, mapping, small) or processes.run(candidate, mapping, small)
            if one is not None:
                tried.append(one)
                by_plan[one.plan] = candidate
        tried.sort(key=lambda one: -one.likeness)  # stable: the likelier candidate first
        for place, one in enumerate(tried):
            if one.kind == simulated.kind and one.likeness >= ENOUGH:
                tried[place] = processes.run(by_plan[one.plan], mapping, small) or one
                break
    tried.sort(key=lambda one: -one.likeness)
    return Reproduction(told=told, scenario=str(work), mapping=mapping, tried=tuple(tried))


class _Bench:
    """The work on ranks of one kind, started when it is first asked.  A context manager."""

    def __init__(self, scenario: Any, size: int, kind: str) -> None:
        from faultkit.scenarios import Stage, scenario_of
        from faultkit.worlds import World

        self.kind = kind
        self.stage = Stage(scenario_of(scenario))
        self.world = World(
            size, kind=kind, timeout=TIMEOUT_SECONDS, preload=self.stage.scenario.preload, launcher="none"
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Bench:
        self._stack.enter_context(self.world)
        self._stack.enter_context(self.stage)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, candidate: Candidate, mapping: Mapping, picture: dict[int, Shown]) -> Tried | None:
        """What came of it; None where ranks of this kind cannot do it, or no fault fired."""
        try:
            plan = mapping.to_small(candidate.plan)
            run = self.stage.run(self.world, plan, may_not_fire=True)
        except PlanError:
            return None
        if not run.fired:
            return None
        shown = picture_of_run(run)
        differing = [rank for rank in sorted(picture) if rank in shown and picture[rank] != shown[rank]]
        return Tried(
            plan=str(candidate.plan),
            small_plan=str(plan),
            why=candidate.why,
            likeness=round(likeness(picture, shown), 4),
            verdict=str(run.verdict),
            kind=self.kind,
            differs=tuple(mapping.ranks[rank] for rank in differing),
            shown=tuple(
                " ".join(part for part in (shown[rank].kind, shown[rank].type_name) if part)
                for rank in sorted(shown)
            ),
            story=run.story(replay=None),
            timeline=timeline_of(run),
        )
