"""`CheckpointManager` of torch_checkpointing, the successor of the stock engine, to files, a file of each rank for
each item.

A save writes to ``tmp_step-7``, waits for the other ranks at a barrier in the store of the process group, and rank 0
renames to ``step-7``: a step is complete when it has that name, and cannot be saved again.  A process has one manager
for a directory, as a job has.  ``torch-checkpointing`` writes in the rank and ``torch-checkpointing-async`` in a
process of the manager's, which ends when the save is settled.  `barrier_seconds` is how long a rank waits there for
the others (600 in the library); `direct_io` is on in the library, and off here.  Tried with torch_checkpointing 0.1.1
and torch 2.13.0.

Known weak points of 0.1.1: a rank that fails before the barrier tells nobody, the others get "Wait timeout"; the
barrier counts who has come and never forgets, so that a rank that tries again alone is let through and publishes
without the others' files; ``tmp_step-7`` of a save that failed is written into by the next; only rank 0 learns that
the rename failed; nothing is synced before the rename; with `direct_io` the first save fails where O_DIRECT needs
aligned memory, as on ext4.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.parts import step_directories
from faultkit.messages import seen

__all__ = ["TORCH_CHECKPOINTING", "TORCH_CHECKPOINTING_ASYNC"]

START_SECONDS_MAX = 60  # of the process that writes: it imports torch
END_SECONDS_MAX = 10

_managers: dict[tuple[Path, int], Any] = {}  # of the job in a directory, one for each rank of this process


def save(
    state: dict[str, Any],
    directory: Path,
    step: int,
    barrier_seconds: int = 5,
    threads: int = 1,
    direct_io: bool = False,
) -> None:
    """Save `state` as `step`, and come back when it is there.  Raises what the engine raises."""
    manager = _manager(directory, barrier_seconds, threads, direct_io)
    manager.save(str(step_directories.place(directory, step)), state)


def save_async(
    state: dict[str, Any],
    directory: Path,
    step: int,
    barrier_seconds: int = 5,
    threads: int = 1,
    direct_io: bool = False,
) -> Pending:
    """Stage `state`, to be saved as `step` by another process.  Raises what the engine raises."""
    from torch_checkpointing.checkpoint_process import CheckpointProcessConfig
    from torch_checkpointing.config import AsyncCheckpointSaverConfig
    from torch_checkpointing.staging import CheckpointStagerConfig

    how = AsyncCheckpointSaverConfig(
        writer_config=_writing(f"{directory}/{step}", barrier_seconds, threads),
        wait_timeout_secs=START_SECONDS_MAX,
        staging_config=CheckpointStagerConfig(use_pinned_memory=False, use_non_blocking_copy=False),
        process_config=CheckpointProcessConfig(
            subprocess_init_timeout_secs=START_SECONDS_MAX, subprocess_shutdown_timeout_secs=END_SECONDS_MAX
        ),
    )
    manager = _made(how, direct_io)
    try:
        written = manager.save(str(step_directories.place(directory, step)), state)
    except BaseException:
        _close(manager)
        raise
    return Pending(manager, written)


class Pending:
    """A save that another process does.  It must be settled, which ends that process."""

    def __init__(self, manager: Any, written: Any) -> None:
        self._manager = manager
        self._written = written

    def result(self, timeout: float | None = None) -> None:
        """Wait until the checkpoint is there.  Raises what the engine raises, and TimeoutError."""
        try:
            self._written.result(timeout)
        finally:
            _close(self._manager)


def load(state: dict[str, Any], directory: Path) -> int | None:
    """Load the newest step.  Raises what the engine raises."""
    step = step_directories.newest(directory, is_complete)
    if step is not None:
        manager = _manager(directory, 5, 1, False)
        state.update(manager.load(str(step_directories.place(directory, step)), into=state, strict=True))
    return step


def read(directory: Path) -> dict[str, Any] | None:
    """The newest step, of the files of all ranks together.  Raises ValueError where a part of a tensor is missing."""
    import torch
    import torch.distributed.tensor

    found = steps(directory)
    if not found:
        return None
    parts: dict[str, dict[int, Any]] = {}
    for path in step_directories.place(directory, found[-1]).glob("*_*.pt"):
        name, _, rank = path.stem.rpartition("_")
        parts.setdefault(name, {})[int(rank)] = torch.load(path, weights_only=True)
    return {name: _together(name, [of[rank] for rank in sorted(of)]) for name, of in parts.items()}


def steps(directory: Path) -> list[int]:
    """The steps that were published."""
    return step_directories.steps(directory, is_complete)


def prune(directory: Path, keep: int) -> None:
    """Remove all but the `keep` newest."""
    step_directories.prune(directory, keep, is_complete)


def is_complete(path: Path) -> bool:
    """Whether `path`, which has the name of a step, is one: rank 0 gave it that name last."""
    return path.is_dir()


def check(world_size: int, barrier_seconds: int = 5, threads: int = 1, **_: object) -> str:
    """What is wrong with the options, on a world of so many ranks."""
    for name, value in (("barrier_seconds", barrier_seconds), ("threads", threads)):
        if value < 1:
            return f"{name} must be 1 or more (got {seen(value)})"
    return ""


def _manager(directory: Path, barrier_seconds: int, threads: int, direct_io: bool) -> Any:
    """This rank's for `directory`: made once, so that what a failed save left in it is there when it is tried again."""
    import torch.distributed as dist
    from torch_checkpointing.config import SyncCheckpointSaverConfig

    rank = dist.get_rank() if dist.is_initialized() else 0
    for key in [key for key in _managers if key[0] != directory]:
        _close(_managers.pop(key))
    if (directory, rank) not in _managers:
        how = SyncCheckpointSaverConfig(writer_config=_writing(str(directory), barrier_seconds, threads))
        _managers[directory, rank] = _made(how, direct_io)
    return _managers[directory, rank]


def _made(how: Any, direct_io: bool) -> Any:
    from torch_checkpointing import CheckpointManager
    from torch_checkpointing.storage.filesystem import LocalFileSystemStorageConfig

    return CheckpointManager(
        CheckpointManager.Config(
            save=how,
            storage_config=LocalFileSystemStorageConfig(use_direct_io=direct_io),
        )
    )


def _writing(name: str, barrier_seconds: int, threads: int) -> Any:
    """How to write, with a barrier that has the same name on every rank, also where a run before this failed on one."""
    from torch_checkpointing.barriers import DefaultStoreBarrierConfig
    from torch_checkpointing.checkpoint_writer import CheckpointWriterConfig

    return CheckpointWriterConfig(
        checkpoint_write_barrier_timeout_sec=barrier_seconds,
        barrier_config=DefaultStoreBarrierConfig(generation=name, timeout_barrier_init_sec=START_SECONDS_MAX),
        file_write_max_threads=threads,
    )


def _close(manager: Any) -> None:
    """End what the manager has; what became of its save, who waited for it was told."""
    with contextlib.suppress(Exception):
        manager.close()


def _together(name: str, values: list[Any]) -> Any:
    """What ranks have of one value, in their order, as a whole."""
    import torch
    from torch.distributed.tensor import DTensor

    first = values[0]
    if isinstance(first, dict):
        return {key: _together(f"{name}.{key}", [value[key] for value in values]) for key in first}
    if not isinstance(first, DTensor):
        return first
    ((placement,), shape) = first.placements, first.shape
    whole = (
        first.to_local()
        if placement.is_replicate()
        else torch.cat([one.to_local() for one in values], placement.dim)
    )
    if whole.shape != shape:
        raise ValueError(
            f"the files of the ranks have {tuple(whole.shape)} of {name}, which is {tuple(shape)}"
        )
    return whole


TORCH_CHECKPOINTING = Checkpointer(
    name="torch-checkpointing",
    summary="torch_checkpointing's CheckpointManager, written by the rank to a directory that is then renamed",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    read=read,
    requires=("torch-checkpointing>=0.1.1,<0.2",),
    extra="torch-checkpointing",
    points=("fs.*",),
    load_points=("fs.*",),
    preload=("torch_checkpointing",),
    options=(("barrier_seconds", 5), ("threads", 1), ("direct_io", False)),
    check=check,
    reshards=False,
    replaces=False,
)

TORCH_CHECKPOINTING_ASYNC = msgspec.structs.replace(
    TORCH_CHECKPOINTING,
    name="torch-checkpointing-async",
    summary="the same, staged in shared memory and written by a process of its own",
    save=save_async,
    is_async=True,
)
