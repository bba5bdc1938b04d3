"""The built-in training: a small model, AdamW, a scheduler, a scaler, random numbers and a loader, to be resumed.

    wrap          fsdp2: `fully_shard`, each layer and the whole; ddp: `DistributedDataParallel`; tp: by columns and
                  rows; none: every rank does the same
    amp           autocast to bfloat16, with a `GradScaler` whose scale grows every other step
    random        whether a step draws from the random states of Python, numpy and torch: noise and dropout
    workers       of the `DataLoader`
    accumulate    batches of a step, after the last of which the optimizer steps

A step gives its loss, the rate, what was drawn, and the samples.  An epoch has four steps of twelve samples, whatever
the number of ranks, which must divide twelve.  Every rank stores its random states; another number of ranks seeds anew.

It hands its state over by `get_state_dict` and takes it by `set_state_dict`, so any checkpointer can save it; alone it
is saved by `dcp`.  torch is imported on the ranks (`faultkit.checkpointers.training_job`).
"""

from __future__ import annotations

from typing import Any

from faultkit.checkpointers.parts.choices import refusal
from faultkit.checkpointers.trainer import Trainer
from faultkit.messages import seen

__all__ = ["TRAINING"]

WRAPS = ("fsdp2", "ddp", "tp", "none")
GLOBAL_BATCH = 12  # samples of a step, on all ranks
WORKERS_MAX = 4


def start(rank: int, world_size: int, **options: Any) -> Any:
    """The job of this rank."""
    from faultkit.checkpointers.training_job import TrainingJob

    return TrainingJob(rank, world_size, GLOBAL_BATCH, **options)


def step(job: Any) -> dict[str, Any]:
    """Train by a step."""
    given: dict[str, Any] = job.step()
    return given


def check(world_size: int, wrap: str, workers: int, accumulate: int, **_: object) -> str:
    """What is wrong with the options, on a world of so many ranks."""
    wrong = refusal("wrap", wrap, WRAPS)
    if wrong:
        return wrong
    if GLOBAL_BATCH % world_size:
        return f"a step of {GLOBAL_BATCH} samples is for 1, 2, 3, 4, 6 or 12 ranks (got {world_size})"
    if not 0 <= workers <= WORKERS_MAX:
        return f"workers must be a number from 0 to {WORKERS_MAX} (got {seen(workers)})"
    if accumulate not in (1, 2):
        return f"accumulate must be 1 or 2 (got {seen(accumulate)})"
    return ""


TRAINING = Trainer(
    name="training",
    summary="a small training with AdamW, a scheduler, a scaler, random numbers and a loader",
    start=start,
    step=step,
    checkpointer="dcp",
    preload=("faultkit.checkpointers.training_job",),
    options=(("wrap", "fsdp2"), ("amp", True), ("random", True), ("workers", 0), ("accumulate", 1)),
    check=check,
)
