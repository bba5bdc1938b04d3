"""`dcp.async_save` by a thread of the rank: the stock engine to files, while the job goes on.

`save` stages the state and returns; ``handle.result(timeout=)`` tells when the checkpoint is there.  It loads, counts
and prunes as `dcp` does.  torch is imported on the ranks.

    in_flight    how many saves ``dcp-async.async`` has on their way at once
    group        own: a gloo group for checkpoints alone, as the engine's documentation asks for; default: that of the
                 job, whose own collectives then meet those of the thread; each: one for every save
    stager       and what follows it: `faultkit.checkpointers.parts.stagers`

Known weak points (torch 2.13): two saves at once on one group mix up their collectives (``in_flight=2``; ``group=each``
does not); of a state that is staged by a thread an error may never reach the future of the staging, which says well
where the staging has failed at once; an error of a save is told by the future alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faultkit.checkpointers import state_kinds
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.engines import dcp
from faultkit.checkpointers.parts import groups, stagers, step_directories, stock_files, stock_readers
from faultkit.checkpointers.parts.choices import refusal
from faultkit.checkpointers.parts.handles import Handle, futures_of
from faultkit.checkpointers.parts.kept import kept
from faultkit.messages import seen

__all__ = ["DCP_ASYNC", "OPTIONS", "check", "load", "save", "start"]

GROUPS = ("own", "default", "each")
IN_FLIGHT_MAX = 16


def save(state: dict[str, Any], directory: Path, step: int, /, **options: Any) -> Handle:
    """Stage `state` and start to save it as `step`.  Raises what staging raises."""
    return start("thread", state, directory, step, **options)


def start(
    how: str,
    state: dict[str, Any],
    directory: Path,
    step: int,
    /,
    group: str = "own",
    dedup: str = "default",
    stager: str = "writer",
    async_staging: bool = False,
    shared_memory: bool = False,
    pinned_memory: bool = False,
    reuse_stager: bool = False,
    wait_staging: bool = True,
    **files: Any,
) -> Handle:
    """Start a save by ``thread`` or by ``process``."""
    import torch.distributed.checkpoint as engine
    from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType

    def make() -> Any:
        return stagers.make(stager, async_staging, shared_memory, pinned_memory)

    path = step_directories.place(directory, step)
    told = f"stager {stager} {async_staging} {shared_memory} {pinned_memory}"  # others are of other runs of this rank
    chosen = kept(told, make) if reuse_stager else make()
    made = groups.of(group)

    def close() -> None:
        if chosen is not None and not reuse_stager:
            chosen.close()
        groups.end(group, made)

    futures = futures_of(
        engine.async_save(
            state,
            checkpoint_id=path,
            storage_writer=stock_files.writer(path, **files),
            planner=dcp.save_planner(dedup),
            process_group=made,
            async_checkpointer_type=AsyncCheckpointerType(how),
            async_stager=chosen,
        )
    )
    if wait_staging and len(futures) > 1:
        futures[0].result()  # before this the job must not change the state
    return Handle(futures, close)


def load(state: dict[str, Any], directory: Path, /, **options: Any) -> int | None:
    """Load the newest complete step, in the group of the job.  Raises what the engine raises."""
    return dcp.load(state, directory, extension=options.get("extension", "none"))


def check(
    world_size: int,
    in_flight: int = 1,
    group: str = "own",
    dedup: str = "default",
    state: str = "default",
    **options: Any,
) -> str:
    """What is wrong with the options, on a world of so many ranks."""
    if not 1 <= in_flight <= IN_FLIGHT_MAX:
        return f"in_flight must be a number from 1 to {IN_FLIGHT_MAX} (got {seen(in_flight)})"
    return (
        groups.check(group, GROUPS, world_size)
        or refusal("dedup", dedup, dcp.DEDUPS)
        or stagers.check(**options)
        or state_kinds.check(world_size, state)
        or stock_files.check(**options)
    )


OPTIONS: tuple[tuple[str, str | int | float | bool], ...] = (
    ("in_flight", 1),
    ("group", "own"),
    *stagers.OPTIONS,
    *stock_files.OPTIONS,
    ("dedup", "default"),
    ("state", "default"),
)

DCP_ASYNC = Checkpointer(
    name="dcp-async",
    summary="torch.distributed.checkpoint.async_save by a thread, in a gloo group of its own",
    save=save,
    load=load,
    steps=dcp.steps,
    prune=dcp.prune,
    readers=stock_readers.READERS,
    any_state=True,
    state=state_kinds.state,
    preload=("faultkit.checkpointers.state_kinds",),
    points=("stager.*", "executor.*", "writer.*", "fs.*"),
    is_async=True,
    options=OPTIONS,
    replaces=stock_files.replaces,
    check=check,
)
