"""What each rank does: a job that is never stopped, one that is killed, and one that is started again.

Every job begins with random states of its own on each rank, and one that is started again with others, as in life:
what it draws before its load is not what the first one drew.  Guarantees: marks are taken between steps, where nothing
of the job runs; a job that is killed has told its marks by then.  Not covered: who kills it (the plan of the run, at
`moment` or anywhere else), and what follows from the marks (`faultkit.resume.judge`).  Imports torch where it is
called.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faultkit.checkpointers import rank_work
from faultkit.checkpointers.trainer import Trainer
from faultkit.messages import seen
from faultkit.resume.marks import LOSS, RANDOM, Mark, Restarted, Value, held_in

__all__ = ["MOMENTS", "TrainerCall", "killed", "moment", "never_stopped", "started_again"]

SAMPLES = "samples"
SPREAD = 1_000_003  # between the seeds of two ranks
MOMENTS = ("before", "within", "after")  # of the step that is lost


class TrainerCall:
    """A call of `function` with the trainer before all else.

    It says that it is of the module of the trainer's functions, which a world then imports once for all ranks.
    """

    def __init__(self, function: Any, trainer: Trainer) -> None:
        self.__module__ = getattr(trainer.start, "__module__", __name__)
        self.__qualname__ = self.__name__ = function.__name__
        self.function, self.trainer = function, trainer

    def __call__(self, *args: Any) -> Any:
        return self.function(self.trainer, *args)


def never_stopped(
    trainer: Trainer, directory: str, kept: str, before: int, last: int, seed: int, is_whole: bool
) -> list[Mark]:
    """Train `last` steps, and save after each up to that after `before`: a mark of every step, from 0 on.

    What lies in `directory` after the save of a step up to `before` is copied to ``kept/STEP``.
    """
    with _job(trainer, seed, is_whole) as life:
        marks = [life.mark(0)]
        for step in range(1, last + 1):
            marks.append(life.step_and_save(step, Path(directory), before))
            if step <= before:
                _together()
                if life.rank == 0:
                    shutil.copytree(directory, Path(kept) / str(step), symlinks=True)
                _together()
        return marks


def killed(trainer: Trainer, directory: str, before: int, seed: int) -> None:
    """The same up to the step after `before`, if nobody ends the job earlier."""
    with _job(trainer, seed, False) as life:
        for step in range(1, before + 2):
            if step > before:
                moment("before")
            _record("trained", mark=_trained(life.step(step)))
            if step > before:
                moment("within")
            _record("save_began", step=step)
            rank_work.finish(trainer.saved(life.job, Path(directory), step))
            _record("save_returned", step=step)
            _record("kept", mark=_kept(life.mark(step)))
        _together()
        moment("after")


def started_again(
    trainer: Trainer, directory: str, before: int, steps: int, last: int, seed: int, is_whole: bool
) -> Restarted:
    """Start the job, load, and train `steps` steps, but none after `last`; save where the others saved."""
    with _job(trainer, seed, is_whole) as life:
        made = life.mark(0)
        found = trainer.loaded(life.job, Path(directory))
        everywhere = _gathered(found if type(found) is int else None)
        if found is not None and type(found) is not int:
            return Restarted(made=made, step=None, odd=f"{seen(found)}, which is no step")
        if found is None or len(set(everywhere)) > 1 or not 0 < found <= last:
            return Restarted(made=made, step=found)
        loaded = life.mark(found)
        numbers = range(found + 1, min(found + steps, last) + 1)
        marks = [life.step_and_save(step, Path(directory), before) for step in numbers]
        return Restarted(made=made, step=found, loaded=loaded, marks=tuple(marks))


def moment(name: str) -> None:
    """Where a plan may end the job: one of `MOMENTS`."""


# -- one life ----------------------------------------------------------------------------------------------


class _Life:
    def __init__(self, trainer: Trainer, job: Any, rank: int, watch: Any, is_whole: bool) -> None:
        self.trainer, self.job, self.rank, self.watch, self.is_whole = trainer, job, rank, watch, is_whole

    def mark(self, step: int) -> Mark:
        """The job as it is."""
        from faultkit.checkpointers.job_contents import found_in
        from faultkit.resume.valuing import gradients_of, streams, values_of

        before = streams()
        state = values_of(self._found(found_in), self.is_whole)
        state |= {f"{RANDOM}{name}": Value(digest) for name, digest in before.items()}
        return Mark(step=step, state=state, gradients=gradients_of(self.job))

    def _found(self, found_in: Any) -> Iterator[Any]:
        import fnmatch

        from faultkit.state_values import leaves_of

        trainer = self.trainer
        if trainer.state is None:
            found = found_in(self.job)
        else:
            given = trainer.state(self.job)
            found = ((name, value, True) for name, value in leaves_of(rank_work.plain(given)))
        for name, value, is_held in found:
            if not any(fnmatch.fnmatchcase(name, glob) for glob in trainer.ignore):
                yield name, value, is_held

    def step_and_save(self, number: int, directory: Path, before: int) -> Mark:
        """Train by one step, and save where it is one of those up to that after `before`: the job as it then is."""
        import msgspec

        trained = self.step(number)
        if number > before + 1:
            return trained
        rank_work.finish(self.trainer.saved(self.job, directory, number))
        saved = self.mark(number)
        changed = [
            name for name, one in trained.state.items() if saved.state.get(name, one).digest != one.digest
        ]
        return msgspec.structs.replace(
            trained, state=saved.state, gradients=saved.gradients, changed_by_save=tuple(changed)
        )

    def step(self, number: int) -> Mark:
        """Train by one step."""
        import msgspec

        from faultkit.resume.valuing import STREAMS, streams

        before = streams()
        self.watch.begin()
        given = self.trainer.stepped(self.job)
        after = streams()
        drawn = [name for name in STREAMS if before[name] != after[name]]
        if "torch" in drawn and not self.watch.has_drawn():
            drawn.remove("torch")
        outputs, named = _outputs(given, self.is_whole)
        samples = tuple(self.watch.samples) if named is None else named
        return msgspec.structs.replace(
            self.mark(number),
            outputs=outputs,
            samples=samples,
            is_named=named is not None,
            drawn=tuple(drawn),
        )


@contextlib.contextmanager
def _job(trainer: Trainer, seed: int, is_whole: bool) -> Iterator[_Life]:
    import torch.distributed as dist

    from faultkit.resume.watching import watched

    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    _seed(seed * SPREAD + rank)
    with watched() as watch:
        yield _Life(trainer, trainer.started(rank, world_size), rank, watch, is_whole)


def _seed(number: int) -> None:
    import random

    import numpy as np
    import torch

    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


def _outputs(given: Any, is_whole: bool) -> tuple[dict[str, Value], tuple[str, ...] | None]:
    """What a step gave, by name, and the samples that it named; None where it named none."""
    from faultkit.resume.valuing import value_of
    from faultkit.state_values import leaves_of, tensor_of

    named = None
    if isinstance(given, dict) and SAMPLES in given:
        told = given[SAMPLES]
        told = tensor_of(told).reshape(-1).tolist() if tensor_of(told) is not None else told  # type: ignore[union-attr]
        named = tuple(str(one) for one in told)
        given = {name: value for name, value in given.items() if name != SAMPLES}
    elif given is None:
        return {}, None
    elif not isinstance(given, dict | list | tuple):
        given = {LOSS: given}
    values = ((name, value_of(leaf, True, is_whole)) for name, leaf in leaves_of(given))
    return {name: value for name, value in values if value is not None}, named


def _trained(mark: Mark) -> dict[str, Any]:
    """What a step was trained on and gave, as small as it can be: it outlives the rank."""
    outputs = {name: [value.digest, value.told] for name, value in mark.outputs.items()}
    return {"step": mark.step, "outputs": outputs, "samples": list(mark.samples)}


def _kept(mark: Mark) -> dict[str, Any]:
    """What the job had after a save, likewise."""
    loose = {name: value.digest for name, value in mark.state.items() if not value.is_held}
    return {"step": mark.step, "held": held_in(mark), "loose": loose}


def _record(kind: str, **data: Any) -> None:
    from faultkit.injection import current

    session = current()
    if session is not None:
        session.record(kind, **data)


def _together() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()


def _gathered(value: Any) -> list[Any]:
    import torch.distributed as dist

    if not dist.is_initialized():
        return [value]
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found
