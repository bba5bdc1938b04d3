"""The stock engine, `torch.distributed.checkpoint.save` and `load` to files: a directory for each step.

A step is complete when it holds the engine's ``.metadata``; one that is saved again is written over in place, as most
training scripts do.  It loses the old checkpoint when that fails half way.  torch is imported on the ranks.

Known weak points (torch 2.13): nothing is synced in the order in which it is needed, a step is overwritten in place,
checksums are stored and never checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faultkit.checkpointers import step_directories
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.messages import seen

__all__ = ["DCP"]

THREADS_MAX = 256


def save(
    state: dict[str, Any], directory: Path, step: int, threads: int = 1, sync_files: bool = True
) -> None:
    """Save `state` as `step`.  Raises what the engine raises."""
    import torch.distributed.checkpoint as dcp

    path = step_directories.place(directory, step)
    writer = dcp.FileSystemWriter(path, thread_count=threads, sync_files=sync_files)
    dcp.save(state, checkpoint_id=path, storage_writer=writer)


def load(state: dict[str, Any], directory: Path) -> int | None:
    """Load the newest complete step.  Raises what the engine raises."""
    import torch.distributed.checkpoint as dcp

    step = step_directories.newest(directory, is_complete)
    if step is not None:
        dcp.load(state, checkpoint_id=step_directories.place(directory, step))
    return step


def steps(directory: Path) -> list[int]:
    """The complete steps."""
    return step_directories.steps(directory, is_complete)


def prune(directory: Path, keep: int) -> None:
    """Remove all but the `keep` newest."""
    step_directories.prune(directory, keep, is_complete)


def is_complete(path: Path) -> bool:
    """Whether the engine has finished the checkpoint at `path`."""
    return (path / ".metadata").exists()


def check(world_size: int, threads: int = 1, **_: object) -> str:
    """What is wrong with the options, on a world of so many ranks."""
    return (
        ""
        if 1 <= threads <= THREADS_MAX
        else f"threads must be a number from 1 to {THREADS_MAX} (got {seen(threads)})"
    )


DCP = Checkpointer(
    name="dcp",
    summary="torch.distributed.checkpoint.save and load, a directory for each step, written over in place",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    options=(("threads", 1), ("sync_files", True)),
    check=check,
)
