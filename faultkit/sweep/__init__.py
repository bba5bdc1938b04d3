"""Many plans over one scenario: enumerate, run, journal.

    journal = sweep("dcp-save", world=4)
    journal.totals                       # {"HUNG": 12, "MASKED": 4, "HELD": 20}
    journal.to_json()

A sweep first runs its scenario with nothing broken and sees which injection points each rank comes by; then
it breaks each of them, on each rank, in each chosen way, one at a time, and keeps a result per plan.  Where promises
are broken with nothing broken, that is the result.
"""

from __future__ import annotations

import contextlib
import functools
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from faultkit.checks import Verdict
from faultkit.exceptions import NotSimulatedError
from faultkit.messages import listed
from faultkit.plan import FaultPlan
from faultkit.plan.actions import Action
from faultkit.plan.grammar import read_calls
from faultkit.runs.launcher import TORCHRUN
from faultkit.runs.selection import Chosen
from faultkit.scenarios import ScenarioError, Stage, scenario_of
from faultkit.scenarios.scenario import POINTS_OF_A_FUNCTION
from faultkit.sweep.auto_kind import EscalatingWorld, world_of
from faultkit.sweep.baseline import Broken, Sound, establish
from faultkit.sweep.chunks import Chunk
from faultkit.sweep.elsewhere import run_elsewhere
from faultkit.sweep.executors import require_executor, workers_of
from faultkit.sweep.journal_file import JournalFile, header_of, share_of
from faultkit.sweep.reachability import (
    WIDE_SIZE_MIN,
    Reachability,
    Target,
    pairs_for,
    plans_for,
    representatives,
)
from faultkit.sweep.results import Baseline, Journal, PlanResult, result_of
from faultkit.sweep.runner import run_plans
from faultkit.sweep.schedules import ScheduleChoice, ScheduleCoverage, Schedules
from faultkit.sweep.selection import (
    DEFAULT_MOMENTS,
    FILE_ACTIONS,
    REQUEST_ACTIONS,
    STANDARD_ACTIONS,
    VALUE_ACTIONS,
    Place,
    choose_actions,
    choose_places,
)
from faultkit.torch_versions import torch_version
from faultkit.worlds import World
from faultkit.worlds.arguments import require_attempts
from faultkit.worlds.kinds import KINDS

__all__ = [
    "DEFAULT_MOMENTS",
    "FILE_ACTIONS",
    "REQUEST_ACTIONS",
    "STANDARD_ACTIONS",
    "VALUE_ACTIONS",
    "Baseline",
    "Cell",
    "Covered",
    "Journal",
    "Order",
    "PlanResult",
    "Progress",
    "Reach",
    "Reachability",
    "ScheduleChoice",
    "ScheduleCoverage",
    "Schedules",
    "Target",
    "choose_actions",
    "choose_places",
    "plans_for",
    "representatives",
    "sweep",
    "torch_version",
]

# earlier names
Cell, Covered, Order, Reach = Target, ScheduleCoverage, ScheduleChoice, Reachability


class Progress:
    """How far a sweep has come.  `latest` is None before the first plan."""

    def __init__(self, planned_count: int, make_journal: Callable[[], Journal]) -> None:
        self.planned_count = planned_count
        self.done_count = 0
        self.latest: PlanResult | None = None
        self.journal = make_journal


def sweep(
    scenario: Any,
    *,
    world: int = 4,
    kind: str = "warm",
    timeout: float = 30.0,
    points: Iterable[str] = (),
    moments: Iterable[str] = DEFAULT_MOMENTS,
    actions: Iterable[str | Action] = (),
    calls: str = "*",
    pairs: bool = False,
    attempts_after: int = 0,
    plans: Sequence[FaultPlan] | None = None,
    jobs: int | None = None,
    executor: Any = None,
    may_not_fire: bool = False,
    stories: bool = False,
    probes: bool = True,
    every_rank: bool = False,
    seed: int = 0,
    orders: Sequence[ScheduleChoice] | None = None,
    schedules: Schedules | None = None,
    launcher: str | None = None,
    ranks_differ: bool = False,
    checks: Iterable[Any] = (),
    no_check: Iterable[str] = (),
    allow_residue: Iterable[str] = (),
    allow_unread: Iterable[str] = (),
    allow_cast: Iterable[str] = (),
    journal_path: str | None = None,
    share: tuple[int, int] | None = None,
    seconds: Mapping[str, float] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Journal:
    """Break `scenario` in every chosen way on a world of `world` ranks, one plan after the other.

    Args:
        scenario: a `faultkit.scenarios.Scenario`, a checkpointer (whose save is meant), a function, the name of one,
            or ``"module:attribute"``.
        world: ranks.  Of more than 64 a place is broken on four, see `representatives`.
        kind: of the world.  With ``"auto"`` plans run on simulated ranks, and what breaks a promise there again on
            processes, see `faultkit.sweep.auto_kind`.
        timeout: of each run, in seconds.
        points: globs, see `faultkit.sweep.selection`; () for those that the scenario names.
        moments: globs.
        actions: globs, or actions; () for ValueError, at points of layer ``fs`` an OSError.  What cannot happen to
            simulated ranks is left out for these, and told; an action that finds nothing to change in a file is
            counted and left out.
        calls: at which calls of its place a fault strikes, as in a plan: ``"1"``, ``"2-4"``; all by default.
        pairs: break two places at a time, each two once, on ranks and in ways that meet each other by turns.
        attempts_after: how often the same ranks do it again, without a fault, after each plan: see `World.run`.
        plans: these are run instead.
        jobs: worlds side by side, one by default; with an executor chunks, by default as many as it has workers.
        executor: runs the plans in chunks, elsewhere or in other processes of this machine: a
            `concurrent.futures.Executor`, a function that makes one, or a text, see `faultkit.sweep.executors`.  What
            comes before the first plan is done here.
        may_not_fire: whether a plan of which nothing fires is no violation.
        stories: whether each result keeps the story of its run.
        probes: whether the scenario must hold with nothing broken before anything is.
        every_rank: break a place on each rank, however many there are.
        seed: of every run.
        orders: a seed or schedule for each of `plans`.
        schedules: simulated ranks run each plan several times, each time in another order; the worst run is the
            result.
        launcher: who keeps the job (see `World`); None for the scenario's, else ``"torchrun"``.
        ranks_differ: each rank has a seed of its own (see `World`).
        checks: the promises that count, beside what the scenario says, see `World.run`.
        no_check: names of others that do not.
        allow_residue: globs over what may stay.
        allow_unread: globs over the names of what a checkpoint holds and need not be taken back.
        allow_cast: globs over the names of what may come back as another dtype.
        journal_path: a file to which each result is appended as it comes; where it is there, what it holds is not run
            again.
        share: (I, N), the I-th of N shares of the plans, which are disjoint and together all.
        seconds: how long plans took, by their text, by which shares are balanced.
        on_progress: called once before the first plan and after each; what it was called with can still give the
            journal after an exception, Ctrl-C included.

    Returns:
        A result for each plan, and what was left out.

    Raises:
        ScenarioError: the scenario is not known, or its work fails without a fault.
        PlanError: a glob or a plan does not fit.
        JournalError: the journal is none, or of another sweep.
        ValueError: a number is out of range.
        HarnessError: ranks cannot be started, or faultkit itself failed on one; a worker lacks what it needs.
    """
    scenario = scenario_of(scenario)
    asked = Chosen.of(checks, no_check, allow_residue, allow_unread, allow_cast)
    chosen = scenario.chosen_checks.beside(asked)
    scenario = msgspec.structs.replace(scenario, **chosen.options)
    if isinstance(jobs, bool) or not isinstance(jobs, int | None) or (jobs is not None and jobs < 1):
        raise ValueError(f"sweep: jobs must be a number of worlds from 1 (got {jobs!r})")
    if executor is not None:
        require_executor(executor)
    scenario.validate_for(world)
    calls = read_calls(calls)
    require_attempts(attempts_after, None)
    places = () if plans is not None else choose_places(tuple(points) or scenario.points, moments)
    actions = (actions,) if isinstance(actions, str) else tuple(actions)
    chosen_actions = choose_actions(actions) if actions and plans is None else ()
    schedules = schedules or Schedules()
    launcher = launcher or scenario.launcher or TORCHRUN
    make = functools.partial(world_of, world, kind, timeout, scenario, launcher, ranks_differ)
    first: World | EscalatingWorld = make()  # nothing starts yet
    scenario.require_points([site for site, _ in places])
    for plan in plans or ():
        scenario.require_points(fault.point for fault in plan)
        first.validate_plan(plan)
    if schedules.several and not KINDS[kind].follows_schedules:
        raise ValueError(
            f"sweep: only simulated ranks run under {schedules}; kind must be simulated or auto (got {kind!r})"
        )
    if orders is not None and len(orders) != len(plans or ()):
        raise ValueError(
            f"sweep: orders must be one for each of {len(plans or ())} plans (got {len(orders)})"
        )
    unreached: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    left_out_count = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(first)
        stage = stack.enter_context(Stage(scenario))
        found = _established(stage, first, places, is_wanted=probes or plans is None)
        if isinstance(found, Broken):
            result = _judged_alone(first, stage, found, ScheduleChoice(seed))
            return _without_faults(
                result, found, stage, world, kind, launcher, ranks_differ, on_progress or (lambda _: None)
            )
        enumerated = plans is None
        file_count = 0
        if plans is None:
            assert found is not None
            reach = found.reach
            if not points and scenario.points == POINTS_OF_A_FUNCTION:
                file_count = found.file_count
            if world >= WIDE_SIZE_MIN and not every_rank:
                standing = representatives(world)
                left_out_count = world - len(standing)
                cells = tuple(cell for cell in reach.cells if cell.rank in standing)
                reach = msgspec.structs.replace(reach, cells=cells)
            plans = (pairs_for if pairs else plans_for)(reach, chosen_actions, calls)
            refused = tuple(
                dict.fromkeys(
                    str(fault.action)
                    for plan in plans
                    for fault in plan
                    if not first.supports(FaultPlan((fault,)))
                )
            )
            plans = tuple(plan for plan in plans if first.supports(plan))
            if not plans and refused:
                raise ScenarioError(
                    f"{listed(refused)} cannot happen to {kind} ranks; choose other actions or another kind"
                )
            unreached = tuple(
                f"{point}:{moment}" if moment != "before" else point for point, moment in reach.unreached
            )
            if not plans:
                advice = (
                    f"it wrote files ({file_count}), which points 'fs.*' break"
                    if file_count
                    else "choose others with points"
                )
                raise ScenarioError(
                    f"scenario {str(scenario)!r} comes by none of the {len(places)} chosen points "
                    f"({listed(tuple(points) or scenario.points)}); {advice}"
                )
        stage.attempts_after = attempts_after  # of what is broken alone
        results: dict[int, PlanResult] = {}
        idle: set[int] = set()
        abandoned: list[FaultPlan] = []
        mine = frozenset(range(len(plans))) if share is None else share_of(plans, share, seconds or {})
        began = time.monotonic()

        def journal() -> Journal:
            return Journal(
                scenario=str(scenario),
                world_size=world,
                kind=kind,
                launcher=launcher,
                ranks_differ=ranks_differ,
                torch=torch_version(),
                results=tuple(results[index] for index in sorted(results)),
                planned_count=len(mine),
                seconds=time.monotonic() - began,
                unreached=unreached,
                refused=refused,
                left_out_count=left_out_count,
                idle_count=len(idle),
                schedules=str(schedules) if schedules.several else "",
                pending=tuple(
                    plan
                    for index, plan in enumerate(plans)
                    if index in mine and index not in results and index not in idle
                ),
                unbroken_file_count=file_count,
                starts_again=stage.starts_again,
                chosen=chosen,
                kept_residue=stage.kept_residue,
                attempts_after=attempts_after,
                was_tried_unbroken=found is not None,
                abandoned=tuple(abandoned),
            )

        kept: JournalFile | None = None
        if journal_path is not None:
            text = "" if share is None else f"{share[0]}/{share[1]}"
            header = header_of(journal(), plans=plans, seed=seed, share=text)
            kept = stack.enter_context(JournalFile(journal_path, header))
            for index, known in kept.done.items():
                if known is None:
                    idle.add(index)
                elif index in mine:
                    results[index] = known
        todo = [index for index in sorted(mine) if index not in results and index not in idle]
        progress = Progress(len(mine), journal)
        progress.done_count = len(results) + len(idle & mine)
        tell = on_progress or (lambda _: None)

        def keep(index: int, result: PlanResult) -> None:
            progress.latest = result
            if enumerated and result.verdict is Verdict.INERT and _may_be_idle(result.plan):
                idle.add(index)
            else:
                results[index] = result
            if kept is not None:
                kept.add(index, results.get(index))
            progress.done_count = len(results) + len(idle & mine)
            tell(progress)

        def leave(indices: tuple[int, ...]) -> None:
            abandoned.extend(plans[index] for index in indices)

        tell(progress)
        given = orders or [ScheduleChoice(seed)] * len(plans)
        if executor is None:
            others = [make() for _ in range(min(jobs or 1, len(todo)) - 1)]
            for one in others:
                stack.enter_context(one)
            run_plans(
                stage,
                [first, *others],
                [plans[index] for index in todo],
                lambda place, result: keep(todo[place], result),
                orders=[given[index] for index in todo],
                schedules=schedules,
                may_not_fire=may_not_fire,
                story=stories,
                were_reached=enumerated,
            )
        elif todo:
            first.restart()  # which keeps no ranks that nobody needs
            run_elsewhere(
                stack.enter_context(workers_of(executor, jobs)),
                stage,
                Chunk(
                    sweep=uuid.uuid4().hex,
                    scenario=scenario,
                    world=world,
                    kind=kind,
                    timeout=timeout,
                    launcher=launcher,
                    ranks_differ=ranks_differ,
                    attempts_after=attempts_after,
                    schedules=schedules,
                    may_not_fire=may_not_fire,
                    story=stories,
                    were_reached=enumerated,
                ),
                [(index, plans[index], given[index]) for index in todo],
                keep,
                leave,
                seconds or {},
            )
        return journal()


def _established(
    stage: Stage, first: World | EscalatingWorld, places: tuple[Place, ...], *, is_wanted: bool
) -> Sound | Broken | None:
    """What the scenario comes to by itself, on simulated ranks of a ladder where these can do what it does."""
    if isinstance(first, EscalatingWorld):
        try:
            return _established(stage, first.simulated, places, is_wanted=is_wanted)
        except NotSimulatedError:
            return _established(stage, first.processes, places, is_wanted=is_wanted)
    stage.prepare(first)
    return establish(stage, first, places) if is_wanted else None


def _judged_alone(
    world: World | EscalatingWorld, stage: Stage, broken: Broken, order: ScheduleChoice
) -> PlanResult:
    """The result of the scenario with nothing broken: of a ladder as processes come to it."""
    if isinstance(world, EscalatingWorld):
        return world.judge(stage, FaultPlan(), order, Schedules(), may_not_fire=False, story=True)
    result = result_of(broken.run, str(stage.scenario))
    return msgspec.structs.replace(
        result, plan=FaultPlan(), fired=()
    )  # also where it was one that only watched


def _without_faults(
    result: PlanResult,
    broken: Broken,
    stage: Stage,
    world: int,
    kind: str,
    launcher: str,
    ranks_differ: bool,
    tell: Callable[[Progress], None],
) -> Journal:
    """The journal of a scenario that breaks promises by itself."""
    journal = Journal(
        scenario=str(stage.scenario),
        world_size=world,
        kind=kind,
        launcher=launcher,
        ranks_differ=ranks_differ,
        torch=torch_version(),
        results=(result,),
        planned_count=1,
        seconds=result.seconds,
        chosen=stage.scenario.chosen_checks,
        kept_residue=stage.kept_residue,
        baseline=Baseline(broken.run_count, broken.failed_count, broken.sentence),
    )
    progress = Progress(1, lambda: journal)
    tell(progress)
    progress.latest, progress.done_count = result, 1
    tell(progress)
    return journal


def _may_be_idle(plan: FaultPlan) -> bool:
    """Whether one of its actions may have found nothing to change."""
    return any(fault.action.replaces_call for fault in plan)
