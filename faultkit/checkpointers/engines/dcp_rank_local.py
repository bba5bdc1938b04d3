"""The stock engine with ``use_collectives=False``: every rank plans and writes for itself, with metadata of its own.

    step-7/ranks-4           how many ranks there are; rank 0 makes this name first, and syncs it
    step-7/__2.metadata      what rank 2 has; a step is complete when every rank has one

Only as many ranks as saved can load.  It is pruned and written over as `dcp`.  torch is imported on the ranks.

Known weak points (torch 2.13): ranks meet in a barrier after their saves, in which they wait for one that failed, and
another in a load; of a step that is saved again and fails half way some ranks have the new part and some the old one,
which no load can see.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faultkit.checkpointers import state_kinds
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.parts import durable_files, step_directories, stock_files

__all__ = ["DCP_RANK_LOCAL", "check", "is_complete", "load", "prune", "save", "steps"]

COUNT = "ranks-"


def save(state: dict[str, Any], directory: Path, step: int, /, **files: Any) -> None:
    """Save `state` as `step`.  Raises what the engine raises."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    path = step_directories.place(directory, step)
    if not dist.is_initialized() or dist.get_rank() == 0:
        path.mkdir(exist_ok=True)
        name = f"{COUNT}{_rank_count()}"
        (path / name).touch()
        for other in _counts(path) - {name}:
            (path / other).unlink()
        durable_files.sync(path)
        durable_files.sync(directory)
    writer = stock_files.writer(path, **files)
    dcp.save(state, checkpoint_id=path, storage_writer=writer, use_collectives=False)


def load(state: dict[str, Any], directory: Path, /, **files: Any) -> int | None:
    """Load the newest complete step.  Raises what the engine raises, and ValueError on another number of ranks."""
    import torch.distributed.checkpoint as dcp

    step = step_directories.newest(directory, is_complete)
    if step is not None:
        path = step_directories.place(directory, step)
        if _counts(path) != {f"{COUNT}{_rank_count()}"}:
            raise ValueError(f"step {step} must be loaded by as many ranks as saved it (got {_rank_count()})")
        dcp.load(state, checkpoint_id=path, storage_reader=stock_files.reader(path, **files))
    return step


def steps(directory: Path) -> list[int]:
    """The complete steps."""
    return step_directories.steps(directory, is_complete)


def prune(directory: Path, keep: int) -> None:
    """Remove all but the `keep` newest."""
    step_directories.prune(directory, keep, is_complete)


def is_complete(path: Path) -> bool:
    """Whether every rank has finished its part of the checkpoint at `path`."""
    counts = [int(name.removeprefix(COUNT)) for name in _counts(path)]
    return bool(counts) and all((path / f"__{rank}.metadata").exists() for rank in range(max(counts)))


def check(world_size: int, state: str = "default", **options: Any) -> str:
    """What is wrong with the options."""
    return state_kinds.check(world_size, state) or stock_files.check(**options)


def _counts(path: Path) -> set[str]:
    return {file.name for file in path.glob(f"{COUNT}*")}


def _rank_count() -> int:
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_initialized() else 1


DCP_RANK_LOCAL = Checkpointer(
    name="dcp-rank-local",
    summary="torch.distributed.checkpoint.save with use_collectives=False: metadata of each rank's own",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    state=state_kinds.state,
    preload=("faultkit.checkpointers.state_kinds",),
    reshards=False,
    options=(*stock_files.OPTIONS, ("state", "default")),
    replaces=stock_files.replaces,
    check=check,
)
