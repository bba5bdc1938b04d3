"""The built-in scenarios: the stock engine saves to, and loads from, real files.

All ranks share one state: a 20 x 20 matrix in shards over the ranks, a replicated 10 x 10 matrix, a list, and
an application object that hands its state over itself.  Every value is known, so that a load which comes back
without an error is compared element by element, and raises where one differs.  Rank 0 coordinates through
`save` and `load`; any other rank through the deprecated `save_state_dict` and `load_state_dict`, which alone
take one, and without the application object, which those do not know.  ``threads`` is the number of threads with
which each rank writes its files.

Not covered: asynchronous saves, and every storage but files.  torch is imported on the
ranks, not here.
"""

from __future__ import annotations

from pathlib import Path

from faultkit.messages import seen
from faultkit.scenarios.scenario import Scenario

__all__ = ["DCP_LOAD", "DCP_OVERWRITE", "DCP_SAVE", "load", "save", "save_older"]

THREADS_MAX = 256
OLDER = -1000  # what the values of the older checkpoint are shifted by


def save(directory: Path, coordinator: int = 0, threads: int = 1) -> None:
    """Save the state to `directory`, as one checkpoint.  Raises what the engine raises."""
    _save(directory, coordinator, threads, 0)


def save_older(directory: Path, coordinator: int = 0, threads: int = 1) -> None:
    """The same with other values everywhere, for a save that overwrites it."""
    _save(directory, coordinator, threads, OLDER)


def _save(directory: Path, coordinator: int, threads: int, shift: int) -> None:
    import torch.distributed.checkpoint as dcp

    from faultkit.scenarios import state

    state.require_rank(coordinator)
    writer = dcp.FileSystemWriter(directory, thread_count=threads)
    filled = state.filled(application=coordinator == 0, shift=shift)
    with state.deprecations_ignored():
        if coordinator == 0:
            dcp.save(filled, checkpoint_id=directory, storage_writer=writer)
        else:
            dcp.save_state_dict(filled, writer, coordinator_rank=coordinator)


def load(directory: Path, coordinator: int = 0) -> None:
    """Load the state from `directory` and compare it.  Raises what the engine raises, or WrongContent."""
    import torch.distributed.checkpoint as dcp

    from faultkit.scenarios import state

    state.require_rank(coordinator)
    reader = dcp.FileSystemReader(directory)
    target = state.empty(application=coordinator == 0)
    with state.deprecations_ignored():
        if coordinator == 0:
            dcp.load(target, checkpoint_id=directory, storage_reader=reader)
        else:
            dcp.load_state_dict(target, reader, coordinator_rank=coordinator)
    state.require_filled(target)


def check(world_size: int, coordinator: int, threads: int = 1) -> str:
    """What is wrong with the options, on a world of so many ranks."""
    if not 0 <= coordinator < world_size:
        return f"coordinator must be a rank of the world, 0..{world_size - 1} (got {seen(coordinator)})"
    if not 1 <= threads <= THREADS_MAX:
        return f"threads must be a number from 1 to {THREADS_MAX} (got {seen(threads)})"
    return ""


DCP_SAVE = Scenario(
    name="dcp-save",
    summary="torch.distributed.checkpoint.save of sharded, replicated and plain state to files",
    function=save,
    options=(("coordinator", 0), ("threads", 1)),
    points=("writer.*",),
    preload=("faultkit.scenarios.state",),
    check=check,
)

DCP_OVERWRITE = Scenario(
    name="dcp-overwrite",
    summary="the same save over an older checkpoint with other values",
    function=save,
    prepare=save_older,
    options=(("coordinator", 0), ("threads", 1)),
    points=("writer.*", "fs.*"),
    preload=("faultkit.scenarios.state",),
    check=check,
)

DCP_LOAD = Scenario(
    name="dcp-load",
    summary="torch.distributed.checkpoint.load of that state from files, compared element by element",
    function=load,
    prepare=save,
    options=(("coordinator", 0),),
    points=("reader.*",),
    preload=("faultkit.scenarios.state",),
    check=check,
)
