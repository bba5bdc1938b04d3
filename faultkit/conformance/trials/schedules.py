"""Trials by schedules: the same work with nothing broken, in one order of the simulated ranks after the other.

Guarantees: a violation is told with the seed that brings its order back.  Not covered: work that simulated ranks cannot
do, which is told.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from faultkit.conformance.card import Broken
from faultkit.conformance.promises import of_plan
from faultkit.conformance.trials.trial import Context, Tally
from faultkit.exceptions import PlanError, ScenarioError
from faultkit.known import Identity, identities
from faultkit.known.entries import Occurrence
from faultkit.plan import FaultPlan

__all__ = ["ScheduleTrial"]

SCHEDULES = 60
ORDERS_COMPARED = 3
OF_WORD = {"async": {"round-trip", "snapshot", "settled"}, "prune": {"retention"}}


class ScheduleTrial:
    """Orders of ``NAME.word``."""

    def __init__(self, context: Context, word: str) -> None:
        self.context, self.word = context, word
        self.name = f"schedules of {context.checkpointer.name}.{word}"
        self.share = 1.0 if word == "prune" else 2.0
        found = {"parity", "liveness"} | OF_WORD.get(word, {"round-trip"})
        self.promises = frozenset(found)
        self.notes: list[str] = []
        self._tally = Tally()
        self._stack = contextlib.ExitStack()
        self._world: Any = None

    def efforts(self, promise: str) -> list[Any]:
        return self._tally.efforts(promise)

    def pids(self) -> list[int]:
        return list(self._world.pids().values()) if self._world is not None else []

    def close(self) -> None:
        self._stack.close()

    def units(self) -> Iterator[list[Broken]]:
        from faultkit.scenarios import Stage
        from faultkit.worlds import World

        scenario = self.context.scenario(self.word)
        self._world = self._stack.enter_context(
            World(
                self.context.world_size,
                kind="simulated",
                preload=scenario.preload,
                timeout=self.context.timeout_seconds,
                ranks_differ=True,
            )
        )
        stage = self._stack.enter_context(Stage(scenario))
        try:
            stage.prepare(self._world)
            if why := self._why_not(stage):
                self.notes.append(why)
                return
        except (PlanError, ScenarioError) as error:
            self.notes.append(str(error))
            return
        for promise in self.promises:
            self._tally.plan(promise, "schedules", SCHEDULES)
        yield []
        for seed in range(self.context.seed + 1, self.context.seed + SCHEDULES + 1):
            run = stage.run(self._world, seed=seed)
            for promise in self.promises:
                self._tally.add(promise, "schedules")
            yield [
                self._broken(violation, identity, seed, run)
                for violation, identity in zip(run.violations, identities(run), strict=True)
            ]

    def _why_not(self, stage: Any) -> str:
        """Why nothing follows: what breaks in every order, and not on processes, is the simulation's."""
        from faultkit.worlds import World

        seeds = [None, *range(self.context.seed + 1, self.context.seed + ORDERS_COMPARED + 1)]
        if not all(stage.run(self._world, seed=seed).violations for seed in seeds):
            return ""
        size, timeout = self.context.world_size, self.context.timeout_seconds
        with World(size, preload=stage.scenario.preload, timeout=timeout, ranks_differ=True) as processes:
            if stage.run(processes).violations:
                return ""
        return f"{stage.scenario} holds on processes, and in no order of simulated ranks, which cannot do it"

    def _broken(self, violation: Any, identity: Identity, seed: int, run: Any) -> Broken:
        from faultkit.runs.replay_command import replay_line
        from faultkit.sweep.results import story_of

        scenario = str(self.context.scenario(self.word))
        return Broken(
            promise=of_plan(self.word, violation.check, is_broken=False),
            occurrence=Occurrence(
                identity=identity,
                evidence=f"in another order of the ranks, with nothing broken: {violation.evidence}",
                scenario=scenario,
            ),
            verdict=str(violation.verdict),
            replay=replay_line(
                FaultPlan(),
                scenario=scenario,
                world_size=self.context.world_size,
                kind="simulated",
                seed=seed,
                ranks_differ=True,
            ),
            size=seed,
            story=story_of(run, scenario),
        )
