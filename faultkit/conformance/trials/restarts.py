"""Trials of restarts over damage: the newest of several checkpoints is damaged or incomplete, and pruned over.

Guarantees: one sample of each damage first, then three; restarts that come to the same are one violation, told by the
smallest damage, whatever had been damaged.  Not covered: what may follow from a damage
(`faultkit.fallback`), and checkpointers that store by a server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from faultkit.conformance.card import Broken, Effort
from faultkit.conformance.trials.trial import Context, command
from faultkit.exceptions import ScenarioError
from faultkit.known.entries import Occurrence

if TYPE_CHECKING:
    from faultkit.fallback import Case, Fallback

__all__ = ["RestartTrial"]

RANKS = 2
SAMPLES = (1, 3)
OF_WORK = {"fallback": "fallback", "prune": "retention"}


def _is_unnoticed(case: Case) -> bool:
    """Whether every rank took the damaged newest for good, which is the promise about damage."""
    from faultkit.fallback.trees import NEWEST

    return set(case.restart.ranks.values()) == {f"step {NEWEST.step}"}


def fallback_actions() -> tuple[str, ...]:
    from faultkit.fallback import ACTIONS

    return ACTIONS


class RestartTrial:
    """What all ranks come back to over ``NAME.fallback`` or ``NAME.prune``."""

    def __init__(self, context: Context, work: str) -> None:
        self.context, self.work = context, work
        self.name = f"restarts over damage of {context.checkpointer.name}.{work}"
        self.share = 1.5
        self.promise = OF_WORK[work]
        self.promises = frozenset({self.promise})
        self.notes: list[str] = []
        self._effort = Effort("restarts over damage", 0, None, False)
        self._stack = contextlib.ExitStack()
        self._world: Any = None

    def efforts(self, promise: str) -> list[Effort]:
        return [self._effort] if promise == self.promise else []

    def pids(self) -> list[int]:
        return list(self._world.pids().values()) if self._world is not None else []

    def close(self) -> None:
        self._stack.close()

    def units(self) -> Iterator[list[Broken]]:
        from faultkit import fallback
        from faultkit.worlds import World

        context = self.context
        preload = fallback.preloaded(context.checkpointer)
        self._world = self._stack.enter_context(
            World(min(context.world_size, RANKS), preload=preload, timeout=context.timeout_seconds)
        )
        for samples in SAMPLES:
            try:
                found = fallback.survey(
                    context.checkpointer,
                    work=self.work,
                    world=self._world,
                    samples=samples,
                    seed=context.seed,
                )
            except ScenarioError as error:
                self.notes.append(str(error))
                self._effort = Effort("restarts over damage", 0, None, True)
                return
            done = samples == SAMPLES[-1] and not found.left_out
            self._effort = Effort("restarts over damage", len(found.cases), None, done)
            yield [
                self._broken(case, found, samples)
                for case in found.cases
                if case.restart.finding is not None and not _is_unnoticed(case)
            ]

    def _broken(self, case: Case, found: Fallback, samples: int) -> Broken:
        finding: Any = case.restart.finding
        name, comma, options = self.context.text.partition(",")
        return Broken(
            promise=self.promise,
            occurrence=Occurrence(
                identity=case.identity_in(self.work),
                evidence=f"{case.words}: {finding.sentence}",
                scenario=f"{name}.{self.work}{comma}{options}",
            ),
            verdict=str(finding.verdict),
            replay=command(
                "damage",
                f"{name}.{self.work}{comma}{options}",
                *(("--actions", case.action) if case.action in fallback_actions() else ()),
                "--world",
                found.world,
                "--samples",
                samples,
                *self.context.seed_words,
            ),
            size=len(case.words),
        )
