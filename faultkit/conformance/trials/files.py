"""Trials of what lies on the disk: every state that a crash could leave, and damage to a finished checkpoint.

Guarantees: a model whose states were not all judged in its time is tried again with more, as long as there is any.
Not covered: checkpointers that store by a server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from faultkit.conformance.card import Broken, Effort
from faultkit.conformance.trials.trial import Context, command
from faultkit.exceptions import ScenarioError
from faultkit.known.entries import Occurrence

__all__ = ["CrashTrial", "DamageTrial"]

MODELS = (("killed",), ("ordered", "weak"))
SLICE_SECONDS = 3.0
MORE = 3  # times as long, where it did not suffice
ALL_SECONDS = 600.0  # of a model, where there is no limit
SAMPLES = (1, 3)  # of each kind of region and each action
CRASH_RANKS = 2
VERDICTS = {"HUNG": "HUNG", "DIED": "DIED", "ERROR": "LOST_WORK", "ABSENT": "LOST_WORK", "OLD": "LOST_WORK"}


class CrashTrial:
    """The crashes of ``NAME.word``."""

    def __init__(self, context: Context, word: str) -> None:
        self.context, self.word = context, word
        self.name = f"crashes of {context.checkpointer.name}.{word}"
        self.share = 3.0 if word == "overwrite" else 1.5
        self.promise = "retention" if word == "prune" else "crash"
        self.promises = frozenset({self.promise})
        self.notes: list[str] = []
        self._efforts: dict[tuple[str, ...], Effort] = {}
        self._stack = contextlib.ExitStack()
        self._world: Any = None

    def efforts(self, promise: str) -> list[Effort]:
        if promise != self.promise:
            return []
        left = [Effort("crash states", 0, None, False) for models in MODELS if models not in self._efforts]
        return [*self._efforts.values(), *left]

    def pids(self) -> list[int]:
        return list(self._world.pids().values()) if self._world is not None else []

    def close(self) -> None:
        self._stack.close()

    def units(self) -> Iterator[list[Broken]]:
        from faultkit.crash import record_save
        from faultkit.crash.scenario import crash_scenario
        from faultkit.worlds import World

        scenario = crash_scenario(self.context.scenario(self.word))
        size = min(self.context.world_size, CRASH_RANKS)
        self._world = self._stack.enter_context(
            World(size, preload=scenario.preload, timeout=self.context.timeout_seconds)
        )
        try:
            recording = record_save(scenario, self._world)
        except ScenarioError as error:
            self.notes.append(str(error))
            return
        yield []
        limit = self.context.limit_seconds
        slice_seconds = ALL_SECONDS if limit is None else min(SLICE_SECONDS, limit)
        todo = list(MODELS)
        while todo and slice_seconds <= ALL_SECONDS:
            left = []
            for models in todo:
                found = self._explored(scenario, recording, models, slice_seconds)
                if not self._efforts[models].is_complete:
                    left.append(models)
                yield found
            todo, slice_seconds = left, slice_seconds * MORE

    def _explored(
        self, scenario: Any, recording: Any, models: tuple[str, ...], seconds: float
    ) -> list[Broken]:
        from faultkit import crash

        try:
            found = crash.explore(
                scenario,
                models,
                recording=recording,
                world=recording.world_size,
                seed=self.context.seed,
                budget_seconds=seconds,
                workers=1,
            )
        except ScenarioError as error:
            self.notes.append(str(error))
            self._efforts[models] = Effort("crash states", 0, None, True)
            return []
        judged = sum(count.judged for count in found.counts)
        self._efforts[models] = Effort("crash states", judged, None, found.complete)
        return [self._broken(finding, found.world) for finding in found.findings]

    def _broken(self, finding: Any, size: int) -> Broken:
        lost = f", with {', '.join(finding.lost)} lost" if finding.lost else ""
        told = f"; the load: {finding.detail}" if finding.detail else ""
        return Broken(
            promise=self.promise,
            occurrence=Occurrence(
                identity=finding.identity,
                evidence=f"{finding.verdict} where {' or '.join(finding.allowed)} is allowed: {finding.at}{lost}{told}",
                scenario=str(self.context.scenario(self.word)),
            ),
            verdict=VERDICTS.get(finding.verdict, "SILENT_WRONG"),
            replay=command(
                "crash",
                self.context.scenario(self.word),
                "--models",
                finding.models[0],
                "--world",
                size,
                *self.context.seed_words,
            ),
            size=len(finding.lost) * 100 + finding.state_count,
            story=finding.text(),
        )


class DamageTrial:
    """Damage at rest."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.name = f"damage to {context.checkpointer.name}"
        self.share = 1.5
        self.promises = frozenset({"damage"})
        self.notes: list[str] = []
        self._effort = Effort("damages", 0, None, False)
        self._stack = contextlib.ExitStack()
        self._world: Any = None

    def efforts(self, promise: str) -> list[Effort]:
        return [self._effort] if promise == "damage" else []

    def pids(self) -> list[int]:
        return list(self._world.pids().values()) if self._world is not None else []

    def close(self) -> None:
        self._stack.close()

    def units(self) -> Iterator[list[Broken]]:
        from faultkit import damage
        from faultkit.crash.scenario import crash_scenario
        from faultkit.scenario_text import DAMAGE
        from faultkit.worlds import World

        word = next(word for word in DAMAGE.work if word in self.context.checkpointer.work)
        scenario = crash_scenario(self.context.scenario(word), DAMAGE)
        size = min(self.context.world_size, CRASH_RANKS)
        self._world = self._stack.enter_context(
            World(size, preload=scenario.preload, timeout=self.context.timeout_seconds)
        )
        for samples in SAMPLES:
            try:
                found = damage.survey(
                    scenario, world=self._world, samples=samples, seed=self.context.seed, workers=1
                )
            except ScenarioError as error:
                self.notes.append(str(error))
                self._effort = Effort("damages", 0, None, True)
                return
            self._effort = Effort(
                "damages", len(found.cases), None, samples == SAMPLES[-1] and not found.left_out
            )
            yield [
                self._broken(case, word, samples) for case in found.cases if case.outcome in damage_broken()
            ]

    def _broken(self, case: Any, word: str, samples: int) -> Broken:
        return Broken(
            promise="damage",
            occurrence=Occurrence(
                identity=case.identity,
                evidence=f"{case.damage}: {case.detail or 'the load came back without an error, with wrong data'}",
                scenario=str(self.context.scenario(word)),
            ),
            verdict={"HUNG": "HUNG", "DIED": "DIED"}.get(case.outcome, "SILENT_WRONG"),
            replay=command(
                "damage",
                self.context.scenario(word),
                "--actions",
                case.damage.action,
                "--world",
                min(self.context.world_size, CRASH_RANKS),
                "--samples",
                samples,
                *self.context.seed_words,
            ),
            size=len(str(case.damage)),
        )


def damage_broken() -> tuple[str, ...]:
    from faultkit.damage.outcomes import BROKEN

    return BROKEN
