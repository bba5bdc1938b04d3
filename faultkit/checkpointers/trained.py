"""A `Trainer` as a `Checkpointer`, which every campaign takes: the state that is saved and loaded is the job itself.

    checkpointer_of(MINE)       MINE.save, .load, .overwrite, .resume as scenarios; histories, crash, damage

The state of a step is a job that was trained by so many, from the same random states every time; that which is loaded
into is one that was just started, from others.  Compared is what a load must restore at once: models, optimizers,
schedulers and scalers, or what the trainer's `state` gives.

Guarantees: what is saved and what is loaded goes through the trainer's own functions.  Not covered: what a job does
after a load, which `faultkit.resume` compares; and other numbers of ranks, on which a training has other values.
torch is imported on the ranks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.checkpointers import rank_work
from faultkit.checkpointers.checkpointer import Checkpointer

if TYPE_CHECKING:
    from faultkit.checkpointers.trainer import Trainer

__all__ = ["TrainedJob", "checkpointer_of"]

JOB = "job"
SEED, ANOTHER_SEED = 1, 1_000  # of the first rank's job, and of one that is loaded into
POINTS = ("writer.*", "torch.*", "fs.*")
LOAD_POINTS = ("reader.*", "torch.*", "fs.*")


class TrainedJob:
    """A job that hands over what a load must restore at once, and can be given it."""

    def __init__(self, trainer: Trainer, job: Any) -> None:
        self.trainer, self.job = trainer, job

    def state_dict(self) -> dict[str, Any]:
        """By name; tensors are those of the job."""
        from faultkit.checkpointers.job_contents import found_in
        from faultkit.state_values import named_leaves

        if self.trainer.state is not None:
            return named_leaves(rank_work.plain(self.trainer.state(self.job)))
        return {name: value for name, value, is_held in found_in(self.job) if is_held}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the numbers of `state` into the tensors of the job, in place."""
        import torch

        from faultkit.state_values import parts_of

        with torch.no_grad():
            for name, value in self.state_dict().items():
                if isinstance(value, torch.Tensor) and name in state:
                    for part, new in zip(parts_of(value), parts_of(state[name]), strict=True):
                        part.copy_(new)


class _State(msgspec.Struct, frozen=True):
    trainer: Any

    def __call__(self, step: int, rank: int, world_size: int, **options: Any) -> dict[str, Any]:
        import random

        import numpy as np
        import torch

        trainer = self.trainer.with_options(**options)
        number = rank + (SEED if step else ANOTHER_SEED)
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        job = trainer.started(rank, world_size)
        for _ in range(step):
            trainer.stepped(job)
        return {JOB: TrainedJob(trainer, job)}


class _Save(msgspec.Struct, frozen=True):
    trainer: Any

    def __call__(self, state: dict[str, Any], directory: Path, step: int, /, **options: Any) -> Any:
        return self.trainer.with_options(**options).saved(state[JOB].job, directory, step)


class _Load(msgspec.Struct, frozen=True):
    trainer: Any

    def __call__(self, state: dict[str, Any], directory: Path, /, **options: Any) -> Any:
        return self.trainer.with_options(**options).loaded(state[JOB].job, directory)


class _Check(msgspec.Struct, frozen=True):
    trainer: Any

    def __call__(self, world_size: int, **options: Any) -> str:
        return self.trainer.with_options(**options).wrong_for(world_size)


def checkpointer_of(trainer: Trainer) -> Checkpointer:
    """`trainer` as a checkpointer of the same name and options."""
    saver = trainer.saver
    return Checkpointer(
        name=trainer.name,
        summary=trainer.summary,
        save=_Save(trainer),
        load=_Load(trainer),
        state=_State(trainer),
        check=_Check(trainer),
        preload=("faultkit.checkpointers.job_contents", "torch.utils.data", *trainer.modules),
        options=trainer.options,
        chosen=trainer.chosen,
        reshards=False,
        any_state=False,
        no_check=trainer.no_check,
        points=POINTS if saver is None else saver.points,
        load_points=LOAD_POINTS if saver is None else saver.load_points,
        is_async=saver is not None and saver.is_async,
        replaces=True if saver is None else saver.replaces,
        steps=None if saver is None else saver.steps,
        prune=None if saver is None else saver.prune,
        requires=() if saver is None else saver.requires,
        extra="" if saver is None else saver.extra,
        server=None if saver is None else saver.server,
    )
