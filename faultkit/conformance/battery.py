"""`check`: every promise of a checkpointer put to the test, within a budget of seconds, on one report card.

    card = check("dcp", budget_seconds=60)
    card.grade                # "SILENT_WRONG: damage broken; search complete for 9 of 17 promises"
    print(card.text())

Guarantees: each trial gets its share of the time, those that find most first; a promise of which nothing was tried is
told as that.  With a budget of 0 all of it is tried.  The same seed tries the same in the same order.  All ranks,
processes and files are gone at the end, whatever happens; Ctrl-C leaves the card of what was tried by then.  Not
covered: which promises there are (`faultkit.conformance.promises`).
"""

from __future__ import annotations

import contextlib
import datetime
import fnmatch
import importlib.metadata
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from faultkit.conformance.card import (
    Broken,
    ReportCard,
)
from faultkit.conformance.promises import PROMISES, why_not
from faultkit.conformance.summary import left_out, result_of
from faultkit.conformance.trials.kept import Kept, Through, through
from faultkit.conformance.trials.trial import Context, Trial
from faultkit.exceptions import ScenarioError
from faultkit.journals import CampaignJournal
from faultkit.messages import listed, nearest, seen

__all__ = ["Progress", "check", "chosen"]

BUDGET_SECONDS = 60.0
BUDGET_SECONDS_MAX = 1_000_000.0
WORLD = 3  # a coordinator, another, and one that only repeats its role
KIND = "auto"
TIMEOUT_SECONDS = 30.0
JOBS = 2
GRACE_SECONDS = 15.0  # beyond the budget for what is being tried just then
SHARE_OF_A_UNIT = 0.08
LATER = 0.4  # of all the time, until the last trial begins
ALL_SECONDS = 600.0  # where there is no end to it
JOIN_SECONDS = 0.05


class Progress(msgspec.Struct, frozen=True):
    """How far a check has come: the trials that are under way, units done, violations found, seconds gone and left."""

    running: tuple[str, ...]
    units: int
    violations: int
    seconds: float
    left_seconds: float | None


def check(
    checkpointer: Any,
    *,
    budget_seconds: float = BUDGET_SECONDS,
    world: int = WORLD,
    kind: str = KIND,
    seed: int = 0,
    jobs: int = JOBS,
    timeout_seconds: float = TIMEOUT_SECONDS,
    promises: Iterable[str] = (),
    hints: Iterable[str] = (),
    on_progress: Callable[[Progress], object] | None = None,
    on_interrupt: Callable[[ReportCard], object] | None = None,
    journal_path: str | None = None,
) -> ReportCard:
    """Put the whole contract of `checkpointer` to the test.

    Args:
        checkpointer: a `faultkit.Checkpointer`, the name of one, or ``"module:attribute"``; options behind commas.
        budget_seconds: how long trials begin; 0 for all there is to try.
        world: ranks.
        kind: of the world in which faults are tried; with ``"auto"`` simulated ranks, and processes confirm.
        seed: of all that is drawn.
        jobs: trials side by side.
        timeout_seconds: of each run.
        promises: globs over the promises that are wanted; () for all.
        hints: `Broken.hint` of what was found before, which is tried first.
        on_progress: called after each unit.
        on_interrupt: called with the card of what was tried until a KeyboardInterrupt, which then goes on.
        journal_path: a file that keeps what each trial found once it is through; where it is there, those that it holds
            are not begun again.

    Returns:
        A result for each promise.

    Raises:
        ScenarioError: the checkpointer is not known, or cannot run here.
        ValueError: a number is out of range, or no promise is meant; JournalError, one of these, where the journal is
            of another check.
        HarnessError: ranks cannot be started, or faultkit itself failed on one.
    """
    from faultkit.torch_versions import torch_version

    found, text = _named(checkpointer)
    _require(budget_seconds, world, kind, seed, jobs, timeout_seconds)
    wanted = chosen(promises)
    context = Context(
        checkpointer=found,
        text=text,
        world_size=world,
        kind=kind,
        seed=seed,
        timeout_seconds=timeout_seconds,
        limit_seconds=max(1.0, budget_seconds * SHARE_OF_A_UNIT) if budget_seconds else None,
        hints=tuple(hints),
    )
    for word in found.work:  # before anything starts
        context.scenario(word).validate_for(world)
    made = {name: not why_not(PROMISES[name], found) for name in wanted}
    trials = [
        trial for trial in _trials(context) if any(made.get(promise, False) for promise in trial.promises)
    ]
    began = time.monotonic()
    deadline = began + budget_seconds if budget_seconds else None
    broken: list[Broken] = []
    left: list[Trial] = []
    interrupted: BaseException | None = None
    with contextlib.ExitStack() as stack:
        journal: CampaignJournal[Through] | None = None
        if journal_path is not None:
            about = {"checkpointer": text, "world": world, "kind": kind, "seed": seed, "budget": budget_seconds,
                     "timeout": timeout_seconds, "promises": list(wanted)}  # fmt: skip
            journal = stack.enter_context(CampaignJournal(journal_path, "check", about, Through))
            trials = [Kept(trial, journal.done[trial.name]) if trial.name in journal.done else trial
                      for trial in trials]  # fmt: skip
        try:
            _run(trials, jobs, deadline, broken, left, on_progress, began, journal)
        except KeyboardInterrupt as error:
            interrupted, left = error, left or trials
    card = ReportCard(
        checkpointer=text,
        torch=torch_version(),
        faultkit=importlib.metadata.version("faultkit"),
        world_size=world,
        kind=kind,
        seed=seed,
        budget_seconds=budget_seconds,
        promises=tuple(result_of(name, found, trials, broken) for name in PROMISES if name in wanted),
        left_out=tuple(left_out(trials, left)),
        seconds=time.monotonic() - began,
        is_interrupted=interrupted is not None,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    if interrupted is not None:
        if on_interrupt is not None:
            on_interrupt(card)
        raise interrupted
    return card


# -- what is meant -----------------------------------------------------------------------------------------


def _named(checkpointer: Any) -> tuple[Any, str]:
    """The checkpointer, and the text by which it can be found again."""
    from faultkit import checkpointers
    from faultkit.checkpointers.requirements import require
    from faultkit.scenario_text import text_of

    if isinstance(checkpointer, str):
        return checkpointers.get(checkpointer), checkpointer
    if not isinstance(checkpointer, checkpointers.Checkpointer):
        raise ScenarioError(
            f"check: checkpointer must be a faultkit.Checkpointer, or the name of one (got {seen(checkpointer)})"
        )
    require(checkpointer)
    plain = msgspec.structs.replace(checkpointer, chosen=())
    for module in {
        getattr(checkpointer.save, "__module__", ""),
        getattr(checkpointer.load, "__module__", ""),
    }:
        for name, value in vars(sys.modules.get(module, object)).items():
            if isinstance(value, checkpointers.Checkpointer) and value == plain and module != "__main__":
                return checkpointer, text_of(f"{module}:{name}", dict(checkpointer.chosen))
    return checkpointer, str(checkpointer)


def chosen(globs: Iterable[str]) -> tuple[str, ...]:
    """The promises that the globs match, in their order; all for ().  Raises ValueError for one that matches none."""
    patterns = (globs,) if isinstance(globs, str) else tuple(globs)
    for pattern in patterns:
        if not fnmatch.filter(PROMISES, pattern):
            raise ValueError(
                f"check: no promise matches {seen(pattern)}; promises are {listed(PROMISES)}"
                f"{nearest(pattern, PROMISES)}"
            )
    return tuple(
        name for name in PROMISES if not patterns or any(fnmatch.fnmatchcase(name, one) for one in patterns)
    )


def _require(budget_seconds: Any, world: Any, kind: Any, seed: Any, jobs: Any, timeout_seconds: Any) -> None:
    from faultkit.worlds import World
    from faultkit.worlds.arguments import require_kind, require_seed
    from faultkit.worlds.kinds import KINDS

    number = isinstance(budget_seconds, int | float) and not isinstance(budget_seconds, bool)
    if not (number and 0 <= budget_seconds <= BUDGET_SECONDS_MAX):
        raise ValueError(
            f"check: budget must be seconds from 0, which means all, to {BUDGET_SECONDS_MAX:g} "
            f"(got {budget_seconds!r})"
        )
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"check: jobs must be a number of trials side by side from 1 (got {jobs!r})")
    require_seed(seed)
    World(
        world, kind=KINDS[require_kind(kind)].confirmed_by or kind, timeout=timeout_seconds
    )  # starts nothing


def _trials(context: Context) -> list[Trial]:
    """All trials of a checkpointer, those that find most first."""
    from faultkit.conformance.trials.files import CrashTrial, DamageTrial
    from faultkit.conformance.trials.growing import GrowthTrial
    from faultkit.conformance.trials.lives import LifeTrial
    from faultkit.conformance.trials.plans import PlanTrial
    from faultkit.conformance.trials.resharding import ReshardTrial
    from faultkit.conformance.trials.restarts import OF_WORK, RestartTrial
    from faultkit.conformance.trials.resuming import ResumeTrial
    from faultkit.conformance.trials.schedules import ScheduleTrial

    work = context.checkpointer.work
    trials: list[Trial] = [
        PlanTrial(context, word) for word in ("save", "overwrite", "async", "load") if word in work
    ]
    stored = not context.checkpointer.server
    if stored:
        trials += [CrashTrial(context, word) for word in ("overwrite", "resume") if word in work][:1]
    trials.append(LifeTrial(context))
    trials += [PlanTrial(context, word) for word in ("resume", "prune") if word in work]
    if stored:
        trials += [DamageTrial(context)]
        trials += [RestartTrial(context, word) for word in OF_WORK if word in (*work, "fallback")]
        trials += [CrashTrial(context, word) for word in ("prune", "save", "async") if word in work]
    trials += [ReshardTrial(context)]
    ordered = ("async" if "async" in work else "save", "prune")
    trials += [ScheduleTrial(context, word) for word in ordered if word in work]
    trials.append(GrowthTrial(context))
    if not PROMISES["resume"].not_made(context.checkpointer):
        trials.append(ResumeTrial(context))
    return trials


# -- running -----------------------------------------------------------------------------------------------


def _run(
    trials: Sequence[Trial],
    jobs: int,
    deadline: float | None,
    broken: list[Broken],
    left: list[Trial],
    on_progress: Callable[[Progress], object] | None,
    began: float,
    journal: CampaignJournal[Through] | None = None,
) -> None:
    """Turn from trial to trial, unit by unit; `left` are at the end those that had more to do."""
    units: dict[Trial, Iterator[list[Broken]]] = {trial: trial.units() for trial in trials}
    # a trial begins once those before it had some time; what its start costs does not count against it
    seconds = (deadline - began if deadline is not None else ALL_SECONDS) * jobs
    later = LATER * seconds / (len(trials) * sum(trial.share for trial in trials)) if trials else 0.0
    spent = {trial: place * later * trial.share for place, trial in enumerate(trials)}
    started: set[Trial] = set()
    waiting = list(trials)
    running: list[Trial] = []
    lock = threading.Lock()
    stopped = threading.Event()
    done: queue.SimpleQueue[tuple[Trial | None, Any]] = queue.SimpleQueue()

    def next_trial() -> Trial | None:
        with lock:
            if not waiting or stopped.is_set():
                return None
            chosen = min(waiting, key=lambda trial: spent[trial] / trial.share)
            waiting.remove(chosen)
            running.append(chosen)
            return chosen

    def work() -> None:
        while True:
            trial = next_trial()
            if trial is None:
                with lock:
                    is_over = stopped.is_set() or not running
                if is_over:
                    done.put((None, None))
                    return
                time.sleep(JOIN_SECONDS)  # another trial is under way, and may have more to do
                continue
            start = time.monotonic()
            try:
                found = next(units[trial], None)
            except BaseException as error:
                done.put((trial, error))
                return
            with lock:
                if trial in started:
                    spent[trial] += time.monotonic() - start
                started.add(trial)
                running.remove(trial)
                if found is not None:
                    waiting.append(trial)
            if found is None:
                trial.close()
            done.put((trial, found))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, len(trials)))]
    count = 0
    by_trial: dict[str, list[Broken]] = {}
    try:
        for thread in threads:
            thread.start()
        alive = len(threads)
        while alive:
            now = time.monotonic()
            if deadline is not None and now > deadline:
                stopped.set()
                if now > deadline + GRACE_SECONDS:
                    break
            with contextlib.suppress(queue.Empty):
                trial, found = done.get(timeout=JOIN_SECONDS * 4)
                if trial is None:
                    alive -= 1
                elif isinstance(found, BaseException):
                    raise found
                else:
                    broken += found or []
                    by_trial.setdefault(trial.name, []).extend(found or [])
                    if found is None and journal is not None:
                        journal.add(trial.name, through(trial, by_trial[trial.name]))
                    count += 1
                    if on_progress is not None:
                        left_seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
                        on_progress(
                            Progress(
                                tuple(one.name for one in running),
                                count,
                                len({one.identity for one in broken}),
                                time.monotonic() - began,
                                left_seconds,
                            )
                        )
    finally:
        stopped.set()
        while any(thread.is_alive() for thread in threads):
            if sys.exc_info()[0] is not None or deadline is not None:
                _kill([pid for trial in running for pid in trial.pids()])
            for thread in threads:
                thread.join(JOIN_SECONDS)
        with lock:
            left += [trial for trial in trials if trial in waiting or trial in running]
        for trial in left:
            trial.close()


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
