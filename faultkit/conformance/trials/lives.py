"""Trials by lives: jobs that save, fail, are killed, restart and prune, for as long as there is time.

Guarantees: after each restart, what was loaded is what had been acknowledged.  Not covered: which lives there are
(`faultkit.history`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from faultkit.conformance.card import Broken, Effort
from faultkit.conformance.trials.trial import Context, command

__all__ = ["LifeTrial"]

LIVES_AT_ONCE = 3
LIVES_MAX = 120  # of a whole check
PROMISES = frozenset(
    {"round-trip", "old-survives", "acknowledged", "liveness", "ranks-learn", "next-attempt", "retention"}
)


class LifeTrial:
    """The lives of a job over the checkpointer."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.name = f"lives over {context.checkpointer.name}"
        self.share = 3.0
        self.promises = PROMISES if context.checkpointer.prune is not None else PROMISES - {"retention"}
        self.notes: list[str] = []
        self._count = 0
        self._machine: Any = None

    def efforts(self, promise: str) -> list[Effort]:
        is_complete = self._count >= LIVES_MAX
        return [Effort("lives", self._count, None, is_complete)] if promise in self.promises else []

    def pids(self) -> list[int]:
        return []  # each step has a deadline of its own

    def close(self) -> None:
        if self._machine is not None:
            self._machine.pool.close()

    def units(self) -> Iterator[list[Broken]]:
        try:
            import hypothesis  # noqa: F401
        except ImportError:
            self.notes.append("lives need Hypothesis; install it by: pip install 'faultkit[hypothesis]'")
            return
        from faultkit.history import checkpoint_history
        from faultkit.history.lives import live

        context = self.context
        self._machine = checkpoint_history(
            context.checkpointer, max_world=context.world_size, timeout=context.timeout_seconds
        )
        yield []
        before = [int(text) for text in context.first(self.name) if text.isdecimal()]
        for seed in itertools.chain(before, itertools.count(context.seed)):
            found = live(self._machine, LIVES_AT_ONCE, seed)
            self._count += sum(found.counts.values())
            yield [self._broken(found, seed)] if found.story else []
            if self._count >= LIVES_MAX:
                return

    def _broken(self, found: Any, seed: int) -> Broken:
        words = [step.word for step in found.steps]
        promise = _promise_of(found)
        return Broken(
            promise=promise,
            occurrence=found.occurrence,
            verdict=found.verdict,
            replay=command(
                "history",
                self.context.text,
                "--lives",
                LIVES_AT_ONCE,
                "--world",
                self.context.world_size,
                "--timeout",
                f"{self.context.timeout_seconds:g}",
                "--seed",
                seed,
            ),
            size=len(words) * 10 + sum(bool(step.plan) for step in found.steps),
            story=found.story,
            hint=f"{self.name}: {seed}",
        )


def _promise_of(found: Any) -> str:
    words = [step.word for step in found.steps]
    if "prune" in words and found.verdict in ("LOST_WORK", "SILENT_WRONG", "UNUSABLE"):
        return "retention"
    if found.verdict in ("HUNG", "DIED", "LATE"):
        return "liveness"
    if found.verdict in ("PARTIAL", "MISATTRIBUTED", "MASKED"):
        return "ranks-learn"
    broken = [step for step in found.steps if step.plan and step.word != "restart"]
    if not broken:
        return "round-trip"
    return "next-attempt" if found.verdict == "UNUSABLE" else "old-survives"
