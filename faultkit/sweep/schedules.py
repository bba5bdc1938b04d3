"""Under which schedules of simulated ranks each plan of a sweep runs: one, several that seeds draw, or every one.

Guarantees: of all runs of a plan the worst is told, with the seed or the schedule that brings it back, and beside it
how many schedules came to which verdict.  `every` counts runs: where a plan has more schedules than that, the
result says that it is not complete.  Not covered: orders of what ranks do to shared variables between two places
where the scheduler decides (see `faultkit.worlds.simulated.exploration`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from faultkit.checks import Verdict
from faultkit.exceptions import ScheduleError
from faultkit.scenarios import ScenarioError
from faultkit.worlds import Run

__all__ = ["DRAWN_MAX", "EVERY_MAX", "ScheduleChoice", "ScheduleCoverage", "Schedules", "run_under"]

DRAWN_MAX = EVERY_MAX = 1_000_000


class ScheduleChoice(msgspec.Struct, frozen=True):
    """What a run is given besides its plan: the seed, or the schedule that simulated ranks follow."""

    seed: int = 0
    schedule: tuple[int, ...] | None = None


class Schedules(msgspec.Struct, frozen=True):
    """`drawn` schedules by as many seeds, from that of the order on; or with `every` all, in so many runs at most.

    Raises ValueError for numbers out of range.
    """

    drawn: int = 1
    every: int = 0

    def __post_init__(self) -> None:
        for name, smallest, largest in (("drawn", 1, DRAWN_MAX), ("every", 0, EVERY_MAX)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
                raise ValueError(
                    f"schedules: {name} must be a number from {smallest} to {largest} (got {value!r})"
                )
        if self.every and self.drawn > 1:
            raise ValueError("schedules: either some are drawn or every one is run, not both")

    @property
    def several(self) -> bool:
        """Whether a plan runs more than once."""
        return self.drawn > 1 or self.every > 0

    def __str__(self) -> str:
        if self.every:
            return f"every schedule, in {self.every} runs at most"
        return f"{self.drawn} schedules"


class ScheduleCoverage(msgspec.Struct, frozen=True):
    """How many schedules came to each verdict, worst first; whether these are all, None where they were drawn."""

    verdicts: dict[str, int]
    is_complete: bool | None = None

    def text(self, verdict: Verdict) -> str:
        """Such as "2 of 20 schedules"."""
        count, total = self.verdicts.get(str(verdict), 0), sum(self.verdicts.values())
        more = ", and not all were run" if self.is_complete is False else ""
        return f"{count} of {total} schedule{'' if total == 1 else 's'}{more}"


def run_under(
    run_once: Callable[..., Run], order: ScheduleChoice, schedules: Schedules
) -> tuple[Run, ScheduleChoice, ScheduleCoverage | None]:
    """The worst run of a plan, the order that brings it back, and what was covered; `run_once` takes seed, schedule."""
    if order.schedule is not None or not schedules.several:
        try:
            run = run_once(seed=order.seed, schedule=order.schedule)
        except ScheduleError as error:
            raise ScenarioError(str(error), error.run.story(replay=None)) from None
        return run, ScheduleChoice(order.seed, run.schedule), None
    if schedules.every:
        from faultkit.worlds.simulated.exploration import walk

        found = walk(lambda schedule: run_once(seed=order.seed, schedule=schedule), schedules.every)
        worst = found.worst
        return (
            worst,
            ScheduleChoice(order.seed, worst.schedule),
            ScheduleCoverage(_sorted(found.verdicts), found.is_complete),
        )
    counts: Counter[str] = Counter()
    best: Run | None = None
    for seed in range(order.seed, order.seed + schedules.drawn):
        run = run_once(seed=seed, schedule=None)
        counts[str(run.verdict)] += 1
        if best is None or run.verdict.severity < best.verdict.severity:
            best = run
    assert best is not None
    return best, ScheduleChoice(best.seed), ScheduleCoverage(_sorted(counts))


def _sorted(verdicts: dict[str, int]) -> dict[str, int]:
    return {str(verdict): verdicts[str(verdict)] for verdict in Verdict if verdicts.get(str(verdict))}
