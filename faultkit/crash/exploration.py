"""`explore`: record a save, enumerate what crashes could leave, judge each, tell what was found.

Guarantees: the counts say what was done: states enumerated, different trees among them, trees judged, loads that
ran, trees left over for lack of time, and whether all within the stated bound was judged.  Every finding has an
example that `crash.rebuild` makes again from the recording.  All processes and files are gone at the end,
whatever happens.  Not covered: showing what was found, see `faultkit.crash.results`.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.crash.causes import Cause, Causes
from faultkit.crash.enumeration.bounds import Bound
from faultkit.crash.enumeration.crash_model import MODELS, crash_model
from faultkit.crash.enumeration.materialise import Place
from faultkit.crash.enumeration.models import Enumeration
from faultkit.crash.enumeration.replay_space import ReplaySpace
from faultkit.crash.enumeration.state import Judgement, State
from faultkit.crash.loading.audit import Sample, audit
from faultkit.crash.loading.judge import Judge
from faultkit.crash.loading.world_judge import WorldJudge
from faultkit.crash.options import require
from faultkit.crash.rendering import at_words, lost_words, place_words, where_lines
from faultkit.crash.results import Exploration, Finding, ModelCounts
from faultkit.crash.scenario import crash_scenario
from faultkit.exceptions import JournalError, ScenarioError
from faultkit.journals import CampaignJournal
from faultkit.known.functions import function_of_line
from faultkit.known.identity import Identity, identity_of
from faultkit.messages import require_type
from faultkit.scenarios.scenario import Scenario
from faultkit.worlds import observers

if TYPE_CHECKING:
    from faultkit.plan import FaultPlan
    from faultkit.recording import Recording
    from faultkit.worlds import World

__all__ = ["explore", "record_save"]


def explore(
    scenario: Any,
    models: tuple[str, ...] = MODELS,
    *,
    world: World | int = 2,
    plan: FaultPlan | str | None = None,
    backend: str | None = None,
    recording: Recording | None = None,
    bound: Bound | None = None,
    seed: int = 0,
    budget_seconds: float = 60.0,
    workers: int = 2,
    pruning: bool = True,
    timeout_seconds: float = 10.0,
    memory_bytes: int = 1 << 30,
    on_progress: Callable[[str, int, int], object] | None = None,
    on_interrupt: Callable[[Exploration], object] | None = None,
    judging: Any = None,
    acknowledged: Sequence[tuple[int, tuple[int, ...], int]] = (),
    journal_path: str | None = None,
) -> Exploration:
    """Explore the crashes of a save: record it, enumerate what each model allows, load every state and judge it.

    Args:
        scenario: a `faultkit.scenarios.Scenario`, a checkpointer (of which a step is written over, or else one is
            resumed), a function that saves, the name of one, or ``"module:attribute"``.
        models: names of `MODELS`; each is explored for itself.
        world: how many ranks save, or a `World` that the caller owns.
        plan: faults of the save that is recorded; it must return on every rank all the same.
        backend: of the recording, ``"python"``, ``"preload"``, or None for whichever it takes
            (`faultkit.recording.record`).
        recording: explore this one instead of recording anew; then `world` tells nothing but its number.
        bound: how many losses at a time, and how many states; None for the default of `Bound`.
        seed: the order in which larger losses come, and which states are audited.
        budget_seconds: for all models together, after the recording.
        workers: processes that load, side by side.
        pruning: whether a state that answers every question of an earlier load alike is judged by that load.
        timeout_seconds: of each load.
        memory_bytes: of each load.
        on_progress: called now and then with the model, how many states were explored and how many judged.
        on_interrupt: called with what was found until a KeyboardInterrupt, which then goes on.
        judging: another judge, used as `Judge` is.
        acknowledged: steps, each with the operations that it took and the one by which it was acknowledged: a load
            that says that it resumed from an older step has lost work.
        journal_path: a file that keeps the recording, and what each load made of its state as it comes; where it is
            there, what it holds is not done again.

    Returns:
        The counts of each model and every violation, with the fewest lost operations that bring it about.

    Raises:
        ScenarioError: the save, or the load of the finished save, does not go through without a crash; or a state
            audited loads as something else than pruning said.
        ValueError: a model is not known, or a number is out of range; JournalError, one of these, where the journal is
            of another exploration.
    """
    started = time.monotonic()
    scenario = crash_scenario(scenario)
    require(
        models=models,
        backend=backend,
        bound=bound,
        seed=seed,
        budget_seconds=budget_seconds,
        workers=workers,
        pruning=pruning,
        timeout_seconds=timeout_seconds,
        memory_bytes=memory_bytes,
        on_progress=on_progress,
        on_interrupt=on_interrupt,
        journal_path=journal_path,
    )
    scenario.validate_for(_require_fitting(plan, world))
    with contextlib.ExitStack() as stack:
        journal: CampaignJournal[Judgement] | None = None
        if journal_path is not None:
            about = _about(scenario, world, models, plan, backend, bound, seed)
            journal = stack.enter_context(CampaignJournal(journal_path, "crash", about, Judgement))
            for key, known in journal.done.items():  # not one of those that an audit may ask about
                journal.done[key] = msgspec.structs.replace(known, loaded=True)
            recording = _recording_in(
                journal.made(lambda: record_save(scenario, world, plan, backend).to_bytes()), journal_path
            )
        elif recording is None:
            recording = record_save(scenario, world, plan, backend)
        if scenario.load_ranks == 0:
            scenario = msgspec.structs.replace(scenario, load_ranks=recording.world_size)
        begun = time.monotonic()
        space = ReplaySpace(recording, bound, acknowledged)
        causes = Causes(space, scenario)
        counts: list[ModelCounts] = []
        if judging is not None:
            pass
        elif scenario.load_ranks > 1:
            judging = WorldJudge(scenario, timeout_seconds=timeout_seconds)
        else:
            judging = Judge(
                scenario,
                workers=workers,
                pruning=pruning,
                timeout_seconds=timeout_seconds,
                memory_bytes=memory_bytes,
            )
        judge = stack.enter_context(judging)
        has_old = not scenario.is_fresh and not scenario.keeps
        judge.expect(_finished(space), {**recording.before, **recording.links} if has_old else None)
        interrupted = False
        for model in models:
            left = budget_seconds - (time.monotonic() - begun)
            count, interrupted = _explore_model(space, model, judge, causes, seed, left, on_progress, journal)
            counts.append(count)
            if interrupted:
                break
        try:
            told = causes.render(None if interrupted else judge)
        except KeyboardInterrupt:
            interrupted, told = True, causes.render(None)
    found = Exploration(
        scenario=str(scenario),
        world=recording.world_size,
        seed=seed,
        counts=tuple(counts),
        findings=tuple(_finding(space, scenario, cause) for cause in told),
        recording=recording,
        seconds=time.monotonic() - started,
        interrupted=interrupted,
    )
    for verdict, number in found.totals.items():
        observers.count(observers.CRASH_STATES, verdict, number)
    if interrupted:
        if on_interrupt is not None:
            on_interrupt(found)
        raise KeyboardInterrupt
    return found


def _about(
    scenario: Scenario,
    world: Any,
    models: Sequence[str],
    plan: Any,
    backend: str | None,
    bound: Any,
    seed: int,
) -> dict[str, Any]:
    """What a journal says that it is of.  The time that there was is no part of it."""
    bound = bound or Bound()
    return {
        "scenario": str(scenario),
        "world": getattr(world, "size", world),
        "models": list(models),
        "plan": str(plan or ""),
        "backend": backend,
        "bound": str(bound),
        "seed": seed,
    }


def _recording_in(kept: bytes, journal_path: str) -> Recording:
    from faultkit.recording import Recording, RecordingError

    try:
        return Recording.from_bytes(kept)
    except RecordingError as error:
        raise JournalError(f"journal {journal_path!r}: {error}") from None


def _require_fitting(plan: Any, world: Any) -> int:
    from faultkit.worlds import World
    from faultkit.worlds.arguments import require_plan

    try:
        made = world if isinstance(world, World) else World(world)  # starts nothing, and says what is wrong
    except ValueError as error:
        raise ValueError(f"explore: world must be a World or how many ranks it has; {error}") from None
    require_plan(plan).validate_for(made.size)
    return made.size


def record_save(
    scenario: Scenario, world: World | int, plan: FaultPlan | str | None = None, backend: str | None = None
) -> Recording:
    """Prepare what the scenario needs, then run its save on the ranks, and record it.

    Args:
        scenario: what saves.
        world: how many ranks save, or a `World` that the caller owns.
        plan: faults of the save.
        backend: ``"python"``, ``"preload"``, or None for whichever it takes.

    Returns:
        The recording of the save alone.

    Raises:
        ScenarioError: the preparation or the save does not return on every rank.
        TypeError: `scenario` is none.
    """
    from faultkit import recording
    from faultkit.worlds import World

    require_type("record_save", "scenario", scenario, Scenario, "a faultkit.scenarios.Scenario")

    with contextlib.ExitStack() as stack:
        place = stack.enter_context(Place())
        if not isinstance(world, World):
            world = stack.enter_context(World(world, preload=scenario.preload))
        root = place.path / "root"
        root.mkdir()
        directory = root / scenario.root
        if scenario.needs_directory:
            directory.mkdir()
        if scenario.prepare is not None:
            _require_returned(scenario, "prepare", world.run(scenario.bound(scenario.prepare, directory)))
        try:
            recorded = recording.record(
                world, scenario.bound(scenario.function, directory), root=root, plan=plan, backend=backend
            )
        except recording.RecordingError as error:
            raise ScenarioError(
                f"scenario {str(scenario)!r}: its save cannot be recorded: {error}"
            ) from error
        _require_returned(scenario, "save", recorded.run)
        return recorded.recording


def _require_returned(scenario: Scenario, what: str, run: Any) -> None:
    if any(outcome.kind != "returned" for outcome in run.outcomes.values()):
        raise ScenarioError(
            f"scenario {str(scenario)!r}: without any crash, its {what} must return on every rank "
            f"(got {', '.join(sorted({outcome.kind for outcome in run.outcomes.values()}))})",
            run.story(),
        )


def _finished(space: ReplaySpace) -> dict[str, Any]:
    everything = space.done(space.order.full)
    names, contents = space.forest.parts(everything, 0)
    return {path: content for (path, _), content in zip(names, contents, strict=True)}


def _explore_model(
    space: ReplaySpace,
    model: str,
    judge: Judge | WorldJudge,
    causes: Causes,
    seed: int,
    budget_seconds: float,
    on_progress: Callable[[str, int, int], object] | None,
    journal: CampaignJournal[Judgement] | None,
) -> tuple[ModelCounts, bool]:
    """How far it came, and whether it was interrupted."""
    started = time.monotonic()
    enumeration = Enumeration(space, model, seed=seed, budget_seconds=max(0.0, budget_seconds))
    loaded_before = judge.loaded
    sample = Sample(seed)
    judged: dict[str, str] = {}
    loads: dict[str, str] = {}  # without what is held against them for what had been acknowledged
    pairs = (
        judge.judge_many(enumeration) if journal is None else journal.answered(enumeration, judge.judge_many)
    )
    over, interrupted, audited = False, False, 0
    try:
        for number, (state, judgement) in enumerate(_until(pairs, started + budget_seconds)):
            loads[state.key] = judgement.verdict
            held = judgement.held_to(state.witness)
            judged[state.key] = held.verdict
            if not judgement.loaded and not isinstance(judge, WorldJudge):
                sample.add(state, judgement, judge.not_asked(state, judgement))
            causes.add(state, held)
            if on_progress is not None and number % 100 == 0:
                on_progress(model, enumeration.explored, len(judged))
        over = time.monotonic() > started + budget_seconds and len(judged) < enumeration.distinct
    except KeyboardInterrupt:
        interrupted = True
    finally:
        pairs.close()
    loaded = judge.loaded - loaded_before
    if not isinstance(judge, WorldJudge) and judge.pruning and not interrupted:
        try:
            audited = audit(judge, sample.chosen(), loads, started + budget_seconds)
        except KeyboardInterrupt:
            interrupted = True
    counts = ModelCounts(
        model=model,
        bound=enumeration.words,
        explored=enumeration.explored,
        distinct=enumeration.distinct,
        judged=len(judged),
        loaded=loaded,
        audited=audited,
        skipped=enumeration.distinct - len(judged),
        complete=enumeration.complete and not over and not interrupted,
        verdicts=dict(Counter(judged.values())),
        seconds=time.monotonic() - started,
    )
    return counts, interrupted


def _until(pairs: Iterator[tuple[State, Judgement]], deadline: float) -> Iterator[tuple[State, Judgement]]:
    for pair in pairs:
        yield pair
        if time.monotonic() > deadline:
            return


def _finding(space: ReplaySpace, scenario: Scenario, cause: Cause) -> Finding:
    observers, judgement = cause.state.witness, cause.judgement
    error = f"{judgement.type_name}: {judgement.message}" if judgement.type_name else judgement.detail
    return Finding(
        models=cause.models,
        phase=cause.phase,
        verdict=judgement.verdict,
        allowed=scenario.allowed(cause.phase),
        at=at_words(space, observers, scenario.root),
        lost=lost_words(space, observers, scenario.root) if crash_model(observers.model).is_power_cut else (),
        where=where_lines(space, observers),
        detail=error.partition("\n")[0],
        state_count=cause.state_count,
        state=cause.state,
        identity=_identity(space, cause),
    )


def _identity(space: ReplaySpace, cause: Cause) -> Identity:
    """What was lost, or else done last, without what differs from one recording to the next."""
    witness = cause.state.witness
    has_lost = crash_model(witness.model).is_power_cut and bool(witness.lost)
    functions = map(function_of_line, where_lines(space, witness))
    return identity_of(
        "crash",
        cause.judgement.verdict,
        points=[f"{witness.phase}: {place}" for place in place_words(space, witness)] or [witness.phase],
        actions=["power cut" if has_lost else "kill"],
        where=[next(filter(None, functions), "")],
    )
