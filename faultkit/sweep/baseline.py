"""The baseline: what a scenario comes to while nothing is broken, before a sweep breaks anything.

Guarantees: the scenario runs plainly, and then with every place of interest watched.  Where a promise is broken, it
runs again, and what is told is what follows from all of these runs: that it is broken in each of them, that it is
flaky, that it holds only on ranks which have not run it before, or that it holds only while nobody watches.  A broken
promise is what a sweep was asked for, so it is a result; work that only fails (UNUSABLE) is not fit to be swept.

Not covered: a scenario that fails more rarely than in one of two runs may pass for sound here, and is then told by the
plan under which it fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from faultkit.checks import Verdict
from faultkit.checks.wording import clip, name_error
from faultkit.plan import FaultPlan
from faultkit.scenarios import ScenarioError, Stage
from faultkit.sweep.reachability import Reachability, reach_of, watching
from faultkit.sweep.results import story_of
from faultkit.sweep.selection import Place
from faultkit.worlds import Event, Run, World

__all__ = ["Broken", "Sound", "establish"]

RUN_COUNT = 5
SLOW_RUN_COUNT = 2  # where a run takes all the time it has
WATCHED_COUNT = 5  # watched runs that all fail before watching is said to be the cause
NEW_COUNT = 2  # runs on new ranks before they are said to hold there


class Sound(msgspec.Struct, frozen=True):
    """The scenario holds; `reach` are the places that it comes by, `file_count` the files that it has written."""

    reach: Reachability
    file_count: int = 0


class Broken(msgspec.Struct, frozen=True):
    """The scenario breaks promises by itself: the worst `run`, and in how many of so many runs it did."""

    run: Any
    run_count: int
    failed_count: int
    difference: str = ""

    @property
    def is_flaky(self) -> bool:
        return self.failed_count < self.run_count

    @property
    def sentence(self) -> str:
        """What to tell of it, without a full stop."""
        if self.is_flaky:
            return (
                f"flaky: failed in {self.failed_count} of {self.run_count} runs with nothing broken"
                f"; first difference: {self.difference}"
            )
        count = f"{self.failed_count} of {self.run_count} runs"
        return (
            f"does not hold with nothing broken ({self.run.verdict} in {count}), "
            "so that no fault can be judged by it: none was tried"
        )


class _Trial(msgspec.Struct, frozen=True):
    run: Any
    is_watched: bool
    is_new: bool  # on ranks that had not run it before

    @property
    def failed(self) -> bool:
        return bool(self.run.violations)


def establish(stage: Stage, world: World, places: tuple[Place, ...]) -> Sound | Broken:
    """What the scenario comes to by itself.  Raises ScenarioError where it is not fit to be swept."""
    trials: list[_Trial] = []
    written: list[int] = []

    def attempt(watches: bool) -> None:
        is_new = not trials or not world.pids()
        plan = watching(places) if watches else FaultPlan()
        run = stage.run(world, plan, may_not_fire=True, look=lambda place: written.append(_file_count(place)))
        trials.append(_Trial(run, watches, is_new))

    attempt(False)
    if places and not trials[0].failed:
        attempt(True)
    last = trials[-1]
    if not last.failed:
        return Sound(reach_of(last.run, places), written[0])
    while len(trials) < (RUN_COUNT if _ends_in_time(trials, world) else SLOW_RUN_COUNT):
        # plainly and watched in turn, where it is the watched run that failed
        attempt(last.is_watched and len(trials) % 2 == 1)
    _require_fit_for_used_ranks(stage, world, trials)
    while _fails_only_watched(trials) and _ends_in_time(trials, world):
        if sum(one.is_watched for one in trials) == WATCHED_COUNT:
            _refuse_watching(stage, last)
        attempt(True)
    failed = [one for one in trials if one.failed]
    worst = min(failed, key=lambda one: (one.run.verdict.severity, one.is_watched)).run
    held = next((one.run for one in trials if not one.failed), None)
    difference = _first_difference(held, worst) if held is not None else ""
    broken = Broken(worst, len(trials), len(failed), difference)
    if worst.verdict is Verdict.UNUSABLE:
        _refuse(stage, broken)
    return broken


def _refuse(stage: Stage, broken: Broken) -> None:
    name = str(stage.scenario)
    if broken.is_flaky:
        raise ScenarioError(f"scenario {name!r} is {broken.sentence}", is_flaky=True)
    raise ScenarioError(
        f"scenario {name!r} does not hold without any fault ({broken.run.verdict}), "
        "so that no fault can be judged by it",
        story_of(broken.run, name),
    )


def _require_fit_for_used_ranks(stage: Stage, world: World, trials: list[_Trial]) -> None:
    used = [one for one in trials if not one.is_new]
    if (
        len(used) < 2
        or not all(one.failed for one in used)
        or any(one.failed for one in trials if one.is_new)
    ):
        return
    with world.afresh() as other:
        for _ in range(NEW_COUNT):
            if stage.run(other).violations:
                return
            other.restart()
    advice = (
        "--kind fresh does without"
        if other.kind == world.kind
        else "--kind fresh gives it new ranks each time"
    )
    raise ScenarioError(
        f"scenario {str(stage.scenario)!r} holds on new ranks, and not on ranks that have run it before "
        f"({used[0].run.verdict}): it keeps something, such as a process group, that ends with a run; {advice}",
        story_of(used[0].run, str(stage.scenario)),
    )


def _ends_in_time(trials: list[_Trial], world: World) -> bool:
    """Whether every run ended before its time was over: else one more costs all of it again."""
    return all(one.run.seconds < world.timeout for one in trials)


def _fails_only_watched(trials: list[_Trial]) -> bool:
    return any(one.is_watched for one in trials) and all(one.failed is one.is_watched for one in trials)


def _refuse_watching(stage: Stage, watched: _Trial) -> NoReturn:
    raise ScenarioError(
        f"scenario {str(stage.scenario)!r} does not hold when its points are only watched "
        f"({watched.run.verdict}), although it does otherwise",
        story_of(watched.run, str(stage.scenario)),
    )


def _file_count(directory: Path) -> int:
    return sum(path.is_file() for path in directory.rglob("*"))


# -- the first difference ------------------------------------------------------------------------


def _first_difference(held: Run, failed: Run) -> str:
    """Where a run that failed parts from one that held, by the clock of the one that failed."""
    parted = []
    for rank in sorted(failed.outcomes):
        pairs = itertools.zip_longest(_told(held, rank), _told(failed, rank))
        for (_, well), (seconds, ill) in (((a or _NOTHING), (b or _NOTHING)) for a, b in pairs):
            if well != ill:
                parted.append((seconds, f"rank {rank} {ill}, and {well} in a run that held"))
                break
    if parted:
        return min(parted)[1]
    violation = failed.violations[0]
    return f"{violation.check}: {violation.evidence}"


_NOTHING = (float("inf"), "did nothing more")


def _told(run: Run, rank: int) -> Iterator[tuple[float, str]]:
    for event in run.events:
        if event.rank == rank and (words := _words(event)):
            yield event.seconds, words
    outcome = run.outcomes[rank]
    error = getattr(outcome, "error", None)
    yield float("inf"), f"raised {name_error(error)}" if error is not None else outcome.kind


def _words(event: Event) -> str:
    data = event.data
    if event.kind == "attempt_begin":
        return f"began {data['op']} {data['attempt']}"
    if event.kind in ("step_begin", "step_end"):
        end = "began" if event.kind == "step_begin" else "ended" if data.get("ok") else "failed in"
        return f"{end} step {clip(repr(data.get('step')), 40)}"
    if event.kind == "attempt_end":
        return f"ended {data['op']} {data['attempt']} {'well' if data.get('ok') else 'with an error'}"
    return ""
