"""Trials over time: many saves in one life of the ranks, and what there is more of with each.

Guarantees: a few saves first, then as many as the campaign takes by itself.  Not covered: what is counted and when it
is a leak (`faultkit.growth`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from faultkit.conformance.card import Broken, Effort
from faultkit.conformance.trials.trial import Context, command
from faultkit.exceptions import ScenarioError
from faultkit.known import Identity
from faultkit.known.entries import Occurrence

__all__ = ["GrowthTrial"]

FEW, MANY = 40, 200
RANKS = 2
ALL_SECONDS = 600.0
LIMITS = 5  # of one unit: it is one long run


class GrowthTrial:
    """What grows with each save."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.name = f"growth of {context.checkpointer.name}"
        self.share = 1.0
        self.promises = frozenset({"growth"})
        self.notes: list[str] = []
        self._effort = Effort("saves", 0, MANY, False)

    def efforts(self, promise: str) -> list[Effort]:
        return [self._effort] if promise == "growth" else []

    def pids(self) -> list[int]:
        return []  # the run has a deadline of its own

    def close(self) -> None:
        pass

    def units(self) -> Iterator[list[Broken]]:
        from faultkit import growth

        context = self.context
        limit = context.limit_seconds
        for saves in (FEW, MANY):
            try:
                found = growth.measure(
                    context.checkpointer,
                    saves=saves,
                    world=min(context.world_size, RANKS),
                    seed=context.seed,
                    timeout_seconds=ALL_SECONDS if limit is None else limit * LIMITS,
                )
            except ScenarioError as error:
                self.notes.append(str(error))
                return
            self._effort = Effort("saves", found.turns, MANY, found.turns >= MANY)
            yield [
                self._broken(one, identity, found, saves)
                for one, identity in zip(found.violations, found.identities, strict=True)
                if one.check == "growth"
            ]

    def _broken(self, violation: Any, identity: Identity, found: Any, saves: int) -> Broken:
        return Broken(
            promise="growth",
            occurrence=Occurrence(
                identity=identity,
                evidence=violation.evidence,
                scenario=found.scenario,
            ),
            verdict=str(violation.verdict),
            replay=command(
                "growth",
                self.context.text,
                "--saves",
                saves,
                "--world",
                found.world,
                *self.context.seed_words,
            ),
            size=saves,
            story=found.story,
        )
