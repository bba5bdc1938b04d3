"""Trains, kills and starts again: `resume`.

Guarantees: every run has ranks of its own; what is wrong with the arguments, or with a trainer that does not repeat
what it does or cannot be run, is a ScenarioError before anything is judged.  What a save left is put back where it was
saved before each restart.  All folders and ranks are gone when it returns.  Not covered: what is compared (`judge`),
and told (`results`).
"""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from faultkit.checkpointers import trainers
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.trainer import Trainer
from faultkit.exceptions import ArgumentError, ScenarioError
from faultkit.messages import seen, shown
from faultkit.plan import FaultPlan
from faultkit.resume.judge import compared, unrepeatable
from faultkit.resume.marks import RANDOM, Mark, Restarted
from faultkit.resume.ranks import MOMENTS, TrainerCall, killed, never_stopped, started_again
from faultkit.resume.results import Restart, Resumed
from faultkit.runs.outcomes import Returned
from faultkit.runs.replay_command import KIND_OF_RESUME, TIMEOUT_OF_RESUME_SECONDS
from faultkit.runs.resumption import Difference, Resumption
from faultkit.runs.run import Run
from faultkit.worlds.arguments import require_plan, require_seconds, require_seed, require_size
from faultkit.worlds.pool import GivenWorlds, WorldPool

__all__ = ["resume"]

KINDS = ("fresh", "spawn")
STEPS = (3, 2)
STEPS_MAX = 1_000
TOLERANCE = 0.01  # of what is largest; bfloat16 has three digits
ANOTHER_LIFE = 7_919  # added to the seed of a job that is started again
PRELOADED = (
    "torch.distributed.checkpoint",
    "torch.distributed.checkpoint._fsspec_filesystem",
    "torch.distributed.checkpoint.state_dict",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "torch._dynamo",
    "torch.utils.data",
    "faultkit.checkpointers.job_contents",
    "faultkit.resume.ranks",
    "faultkit.resume.valuing",
    "faultkit.resume.watching",
)


def resume(
    trainer: Trainer | Checkpointer | str,
    *,
    world: int = 2,
    load_on: Iterable[int] | None = None,
    steps: tuple[int, int] = STEPS,
    checkpointer: Checkpointer | str | None = None,
    plan: FaultPlan | str | None = None,
    kind: str = KIND_OF_RESUME,
    timeout: float = TIMEOUT_OF_RESUME_SECONDS,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    worlds: GivenWorlds = None,
    on_progress: Callable[[str], None] = lambda told: None,
) -> Resumed:
    """Kill and resume `trainer`, and compare it with a job that is never stopped.

    Args:
        trainer: a `Trainer`, or the name of one; of a `Checkpointer`, the built-in training saved by it.
        world: how many ranks train.
        load_on: on how many ranks it is started again, each; None for `world`, and another where the trainer reshards.
        steps: how many steps are trained before the last save, and how many are compared after each restart.  The job
            saves after each of the first, and after one more; on `world` ranks it is started again over each, on
            others over the last.
        checkpointer: what saves and loads, in place of what the trainer says.
        plan: what ends the job that is killed; None kills all ranks while the step after the last save is on its way,
            or before it, or when it was saved, as the seed says.
        kind: of worlds: "fresh" or "spawn".
        timeout: of each run, in seconds.
        seed: of random, numpy and torch; each rank and each life has another that follows from it.
        tolerance: on another number of ranks, as a part of the largest number of a tensor, or of the loss.
        worlds: a mapping, or a function, from a number of ranks to the `World` to use, which is not closed; None makes
            worlds of that kind.  Ranks of a warm one remember what earlier jobs left in their modules.
        on_progress: called with a line for each run that begins.

    Raises:
        ScenarioError: the trainer is not known, cannot be run without a fault, or gives something else in two jobs that
            nobody stopped; with the story of the run.
        ValueError: an argument is out of range.
        PlanError: the plan cannot be carried out.
        HarnessError: as `World.run`.
    """
    began = time.monotonic()
    text = trainer if isinstance(trainer, str) else ""
    chosen = trainers.trainer_of(trainer)
    if checkpointer is not None:
        chosen = trainers.trainer_of(chosen.saved_by(checkpointer))
    require_seed(seed)
    require_seconds("timeout", timeout)
    before, after = _require_steps(steps)
    if kind not in KINDS:
        raise ArgumentError(
            "resume",
            f"kind must be 'fresh' or 'spawn', since what is started again has new processes (got {shown(kind)})",
        )
    if not isinstance(tolerance, int | float) or not 0 <= tolerance < 1:
        raise ArgumentError(
            "resume", f"tolerance must be a number from 0 to below 1 (got {shown(tolerance)})"
        )
    sizes = _require_sizes(chosen, world, load_on, kind)
    ending = _ending(plan, seed)
    ending.validate_for(world)
    pool = WorldPool(
        name="resume",
        timeout=timeout,
        worlds=worlds,
        kind=kind,
        modules=(*PRELOADED, *chosen.modules),
        launcher="torchrun",
    )
    try:
        job = _Campaign(chosen, pool, world, (before, after), seed, tolerance, on_progress, sizes)
        dead = job.killed(ending)
        restarts = job.restarts()
    finally:
        pool.close()
    made = Resumed(
        trainer=text or trainers.name_of(chosen),
        world=world,
        steps=(before, after),
        seed=seed,
        tolerance=float(tolerance),
        kind=kind,
        timeout=timeout,
        plan="" if plan is None else str(ending),
        checkpointer="" if checkpointer is None else str(checkpointer),
        killed=dead,
        restarts=tuple(restarts),
        notes=tuple(job.notes),
        compared=job.compared,
        seconds=time.monotonic() - began,
    )
    for one in made.restarts:
        one.run.replay = made.replay(one)
    return made


class _Campaign:
    def __init__(
        self,
        trainer: Trainer,
        pool: WorldPool,
        world: int,
        steps: tuple[int, int],
        seed: int,
        tolerance: float,
        on_progress: Callable[[str], None],
        sizes: tuple[int, ...],
    ) -> None:
        self.trainer, self.pool, self.world, self.steps, self.seed = trainer, pool, world, steps, seed
        self.tolerance, self.on_progress, self.sizes = tolerance, on_progress, sizes
        self.notes: list[str] = []
        self.folder = pool.folder()
        self.saved, self.kept, self.left = self.folder / "job", self.folder / "kept", self.folder / "killed"
        for path in (self.saved, self.kept, self.left):
            path.mkdir()
        self.is_whole = any(size != world for size in sizes)
        on_progress("a job that is never stopped")
        self.marks = self._never_stopped()
        self._require_change()
        self.acknowledged, self.begun = steps[0], steps[0]
        self.ignored: frozenset[str] = frozenset()

    def _never_stopped(self) -> dict[int, list[Mark]]:
        before, after = self.steps
        arguments = (str(self.saved), str(self.kept), before, before + after + 1, self.seed, self.is_whole)
        run = self._run(self.world, never_stopped, *arguments)
        marks = {
            rank: outcome.value for rank, outcome in run.outcomes.items() if isinstance(outcome, Returned)
        }
        if len(marks) != self.world:
            raise ScenarioError(
                f"trainer {str(self.trainer)!r} cannot be run: without any fault, {before + after + 1} steps and "
                f"{before + 1} saves do not return on every rank",
                run.story(replay=None),
            )
        return marks

    def _require_change(self) -> None:
        """Raises ScenarioError where a load that does nothing would be right, too."""
        for marks in self.marks.values():
            first, last = marks[0].state, marks[self.steps[0]].state
            later = marks[1:]
            if any(
                value.digest != last[name].digest
                for name, value in first.items()
                if name in last and not name.startswith(RANDOM)
            ) or any(
                one.outputs != two.outputs or one.samples != two.samples for one, two in pairwise(later)
            ):
                return
        raise ScenarioError(
            f"trainer {str(self.trainer)!r}: nothing that is compared changes in {len(later)} steps, so that no resume "
            "of it proves anything; let step give the loss, keep model and optimizer in the job, or name with state "
            "what must be the same"
        )

    @property
    def compared(self) -> dict[str, int]:
        """How many things of each part of the job are compared, and of what a step gives."""
        counts: Counter[str] = Counter()
        for name in dict.fromkeys(name for marks in self.marks.values() for name in marks[-1].state):
            if name not in self.ignored:
                counts[re.split(r"[.\[]", name, maxsplit=1)[0]] += 1
        last = [marks[-1] for marks in self.marks.values()]
        counts["of each step"] = len({name for mark in last for name in mark.outputs})
        counts["samples of the last step"] = sum(len(mark.samples) for mark in last)
        return {name: count for name, count in counts.items() if count}

    def killed(self, ending: FaultPlan) -> Run:
        """The run of the job that is killed."""
        self.on_progress("a job that is killed")
        run = self._run(self.world, killed, str(self.left), self.steps[0], self.seed, plan=ending)
        if not run.fired:
            raise ScenarioError(
                f"trainer {str(self.trainer)!r}: the plan {str(ending)!r} never fired, so that nothing ended the job",
                run.story(replay=None),
            )
        if all(isinstance(outcome, Returned) for outcome in run.outcomes.values()):
            raise ScenarioError(
                f"trainer {str(self.trainer)!r}: the plan {str(ending)!r} fired, and ended no rank of the job; "
                "name one that does, such as 'writer.write_data@0#2=kill(SIGKILL)'"
            )
        told: dict[str, dict[int, list[dict[str, object]]]] = {
            kind: {rank: [] for rank in range(self.world)} for kind in ("trained", "kept")
        }
        saves = {kind: dict.fromkeys(range(self.world), 0) for kind in ("save_began", "save_returned")}
        for event in run.events:
            if event.kind in ("trained", "kept"):
                told[event.kind][event.rank].append(event.data["mark"])
            elif event.kind in saves:
                saves[event.kind][event.rank] = event.data["step"]
        why, self.ignored = unrepeatable(self.marks, told["trained"], told["kept"])
        if why:
            raise ScenarioError(
                f"trainer {str(self.trainer)!r} gives something else in two jobs that nobody stopped: {why}; "
                "whatever is drawn must follow from the random states that a rank begins with, or from a seed"
            )
        if self.ignored:
            self.notes.append(
                f"not compared, since two jobs that nobody stopped differ: {', '.join(sorted(self.ignored))}"
            )
        self.acknowledged = min(saves["save_returned"].values())
        self.begun = max(saves["save_began"].values())
        shutil.copytree(self.left, self.kept / "killed", symlinks=True)
        return run

    def restarts(self) -> list[Restart]:
        """Every job that is started again; on other numbers of ranks, more of them where one breaks a promise."""
        found = []
        for size in self.sizes:
            last = self._restart(size, self.steps[0], True)
            found.append(last)
            if size == self.world:
                found += [self._restart(size, after, False) for after in range(1, self.steps[0])]
            elif last.run.violations:
                for after in range(1, self.steps[0]):
                    found.append(self._restart(size, after, False))
                    if found[-1].run.violations:
                        break
        return found

    def _restart(self, size: int, after: int, was_killed: bool) -> Restart:
        self.on_progress(f"started again on {size} after step {after}")
        place = self.left if was_killed else self.saved
        shutil.rmtree(place)
        shutil.copytree(self.kept / ("killed" if was_killed else str(after)), place, symlinks=True)
        seed = self.seed + ANOTHER_LIFE
        arguments = (str(place), self.steps[0], self.steps[1], sum(self.steps) + 1, seed, self.is_whole)
        run = self._run(size, started_again, *arguments)
        found = {
            rank: outcome.value for rank, outcome in run.outcomes.items() if isinstance(outcome, Returned)
        }
        run.resumption = self._compared(found, size, after, was_killed)
        drawn = sorted(
            {mark.step for marks in self.marks.values() for mark in marks if mark.drawn and mark.step > after}
        )
        return Restart(ranks=size, after=after, was_killed=was_killed, run=run, drawn=tuple(drawn))

    def _compared(self, found: dict[int, Restarted], size: int, after: int, was_killed: bool) -> Resumption:
        acknowledged, begun = (self.acknowledged, self.begun) if was_killed else (after, after)
        made = Resumption(
            saved_ranks=self.world,
            acknowledged=acknowledged,
            begun=begun,
            came_back={rank: one.step for rank, one in found.items()},
            steps=self.steps[1],
        )
        odd = [
            Difference(
                moment="load",
                step=after,
                kind="state",
                name="step",
                told=f"load gives {one.odd}",
                ranks=(rank,),
            )
            for rank, one in found.items()
            if one.odd
        ]
        if odd:
            return msgspec.structs.replace(made, acknowledged=0, differences=tuple(odd))
        if len(found) < size:
            return made
        if all(one.step is None for one in found.values()) and not acknowledged:
            return msgspec.structs.replace(made, notes=("no save had returned; the job begins anew",))
        result = compared(self.marks, found, ignored=self.ignored, tolerance=self.tolerance)
        return msgspec.structs.replace(made, differences=result.differences, notes=result.notes)

    def _run(self, size: int, function: Any, *arguments: Any, plan: FaultPlan | None = None) -> Run:
        call = TrainerCall(function, self.trainer)
        world = self.pool.world(size)
        no_check = ("leaks", *self.trainer.no_check)
        return world.run(call, *arguments, plan=plan, seed=self.seed, may_not_fire=True, no_check=no_check)


def _ending(plan: FaultPlan | str | None, seed: int) -> FaultPlan:
    if plan is not None:
        return require_plan(plan)
    number = (seed + 1) % len(MOMENTS) + 1  # of the call: each moment comes once
    return FaultPlan.parse(f"call.faultkit.resume.ranks:moment#{number}=kill(SIGKILL)")


def _require_steps(steps: Any) -> tuple[int, int]:
    whole = isinstance(steps, Sequence) and len(steps) == 2 and all(type(one) is int for one in steps)
    if not whole or not all(1 <= one <= STEPS_MAX for one in steps):
        raise ArgumentError(
            "resume",
            f"steps must be two numbers from 1 to {STEPS_MAX}, before and after the kill (got {shown(steps)})",
        )
    return steps[0], steps[1]


def _require_sizes(trainer: Trainer, world: int, load_on: Iterable[int] | None, kind: str) -> tuple[int, ...]:
    trainer.validate_for(require_size(world, kind))
    if load_on is None:
        others = [
            size for size in (1, 2, 3, 4) if size != world and trainer.can_reshard and _is_fit(trainer, size)
        ]
        return (world, *others[:1])
    sizes = tuple(dict.fromkeys(require_size(size, kind) for size in load_on))
    if not sizes:
        raise ArgumentError("resume", f"load_on must name a number of ranks, such as {world} (got none)")
    for size in sizes:
        trainer.validate_for(size)
        if size != world and not trainer.can_reshard:
            raise ScenarioError(
                f"trainer {str(trainer)!r}: what it saved is resumed by as many ranks; load_on must be {world} "
                f"(got {seen(size)})"
            )
    return sizes


def _is_fit(trainer: Trainer, size: int) -> bool:
    try:
        trainer.validate_for(size)
    except ScenarioError:
        return False
    return True
