"""Trials of a training: killed after a save, started again on as many ranks and on others.

Guarantees: one step before the save and one after it first, then more of both.  Not covered: what is compared, and
other trainings than the built-in one (`faultkit.resume`).
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.conformance.card import Broken, Effort
from faultkit.conformance.promises import of_plan
from faultkit.conformance.trials.trial import Context
from faultkit.exceptions import ScenarioError
from faultkit.known.entries import Occurrence
from faultkit.resume.campaign import resume
from faultkit.resume.results import Restart, Resumed

__all__ = ["ResumeTrial"]

STEPS = ((1, 1), (5, 2))  # before the last save and after each restart; an epoch has four
RANKS = 2
RUN_SECONDS_MAX = 60.0


class ResumeTrial:
    """What a training finds again."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.name = f"resume of {context.checkpointer.name}"
        self.share = 1.0
        self.promises = frozenset({"resume"})
        self.notes: list[str] = []
        self._effort = Effort("restarts", 0, None, False)

    def efforts(self, promise: str) -> list[Effort]:
        return [self._effort] if promise == "resume" else []

    def pids(self) -> list[int]:
        return []  # each run has a deadline of its own

    def close(self) -> None:
        pass

    def units(self) -> Iterator[list[Broken]]:
        context, done = self.context, 0
        limit = context.limit_seconds
        for steps in STEPS:
            try:
                found = resume(
                    context.checkpointer,
                    world=min(context.world_size, RANKS),
                    steps=steps,
                    seed=context.seed,
                    timeout=RUN_SECONDS_MAX if limit is None else max(limit, context.timeout_seconds),
                )
            except ScenarioError as error:
                self.notes.append(str(error))
                return
            done += len(found.restarts)
            self._effort = Effort("restarts", done, None, steps == STEPS[-1])
            yield self._broken(found)
            if found.smallest is not None:
                return

    def _broken(self, found: Resumed) -> list[Broken]:
        smallest: Restart | None = found.smallest
        if smallest is None:
            return []
        replay = found.replay(smallest).replace(found.trainer, self.context.text, 1)
        return [
            Broken(
                promise=of_plan("load", one.check, is_broken=False),
                occurrence=Occurrence(
                    identity=identity,
                    evidence=one.evidence,
                    scenario=self.context.text,
                ),
                verdict=str(one.verdict),
                replay=replay,
                size=sum((smallest.after, smallest.steps_needed, smallest.ranks)),
                story=found.story(),
            )
            for one, identity in zip(smallest.run.violations, smallest.identities, strict=True)
        ]
