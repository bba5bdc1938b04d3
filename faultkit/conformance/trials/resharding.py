"""Trials of other world sizes and other readers: what N ranks saved, loaded by others.

Guarantees: the checkpointer's own states first, then drawn ones, each problem in its smallest case.  Not covered: which
states there are, and how two are compared (`faultkit.reshard`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from faultkit.conformance.card import Broken, Effort
from faultkit.conformance.trials.trial import Context
from faultkit.exceptions import ScenarioError
from faultkit.known.entries import Occurrence

__all__ = ["ReshardTrial"]

STATES = (2, 40)
SECONDS = (5.0, 30.0)  # of each unit
ALL_SECONDS = 600.0


class ReshardTrial:
    """What others load of what these ranks saved."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.name = f"resharding of {context.checkpointer.name}"
        self.share = 1.5
        self.promises = frozenset({"resharding"})
        self.notes: list[str] = []
        self._effort = Effort("loads", 0, None, False)

    def efforts(self, promise: str) -> list[Effort]:
        return [self._effort] if promise == "resharding" else []

    def pids(self) -> list[int]:
        return []  # each run has a deadline of its own

    def close(self) -> None:
        pass

    def units(self) -> Iterator[list[Broken]]:
        from faultkit.reshard.campaign import explore

        context = self.context
        size = context.world_size
        others = tuple(sorted({1, max(1, size - 1), size + 1})) if context.checkpointer.reshards else (size,)
        for states, seconds in zip(STATES, SECONDS, strict=True):
            try:
                found = explore(
                    context.checkpointer,
                    size,
                    others,
                    states=states,
                    budget_seconds=ALL_SECONDS if context.limit_seconds is None else seconds,
                    seed=context.seed,
                    timeout=context.timeout_seconds,
                )
            except ScenarioError as error:
                self.notes.append(str(error))
                return
            is_last = states == STATES[-1]
            self._effort = Effort("loads", sum(found.totals.values()), None, is_last and found.is_complete)
            yield [self._broken(one, found) for one in found.found]

    def _broken(self, one: Any, found: Any) -> Broken:
        from faultkit.reshard.rendering import replay_of

        problem = one.problem
        replay = replay_of(found, one).replace(found.checkpointer, self.context.text, 1)
        return Broken(
            promise="resharding",
            occurrence=Occurrence(
                identity=problem.identity,
                evidence=problem.evidence,
                scenario=self.context.text,
            ),
            verdict=str(problem.verdict),
            replay=replay,
            size=len(replay),
        )
