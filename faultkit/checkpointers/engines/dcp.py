"""The stock engine, `torch.distributed.checkpoint.save` and `load` to files: a directory for each step.

A step is complete when it holds the engine's ``.metadata``; one that is saved again is written over in place, as most
training scripts do.  It loses the old checkpoint when that fails half way.  torch is imported on the ranks.

    coordinator    who plans and finishes; another than rank 0 by the deprecated `save_state_dict`
    group          the process group (`faultkit.checkpointers.parts.groups`)
    no_dist        rank 0 saves and every rank loads for itself: for state that all ranks have whole
    dedup          which rank writes what several have: the one with the least to do, or the lowest
    partial        a load with a key more than there is in the checkpoint, which `allow_partial_load` lets pass

Known weak points (torch 2.13): nothing is synced in the order in which it is needed, a step is overwritten in place,
checksums are stored and never checked, an error in `reset` or in an application's `state_dict` reaches one rank alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faultkit.checkpointers import state_kinds
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.parts import groups, step_directories, stock_files, stock_readers
from faultkit.checkpointers.parts.choices import refusal
from faultkit.checkpointers.parts.joint_steps import on_every_rank, on_rank_0
from faultkit.messages import seen

__all__ = ["DCP", "is_complete", "load", "prune", "save", "steps"]

GROUPS = ("default", "own", *groups.HALVES)
DEDUPS = ("default", "lowest_rank", "replicated")
MISSING = "a key that no checkpoint has"


def save(
    state: dict[str, Any],
    directory: Path,
    step: int,
    /,
    coordinator: int = 0,
    group: str = "default",
    no_dist: bool = False,
    dedup: str = "default",
    **files: Any,
) -> None:
    """Save `state` as `step`.  Raises what the engine raises."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    path = step_directories.place(directory, step)
    writer = stock_files.writer(path, **files)
    planner = save_planner(dedup)
    made = groups.of(group)

    def alone() -> None:
        dcp.save(state, checkpoint_id=path, storage_writer=writer, planner=planner, no_dist=True)

    def together() -> None:
        if coordinator:
            with step_directories.deprecations_ignored():
                dcp.save_state_dict(
                    own_state(state),
                    writer,
                    process_group=made,
                    coordinator_rank=coordinator,
                    planner=planner,
                )
        else:
            dcp.save(state, checkpoint_id=path, storage_writer=writer, planner=planner, process_group=made)

    if no_dist:
        on_rank_0("save", alone)
    elif group in groups.HALVES:
        is_member = groups.saves(group, dist.get_rank(), dist.get_world_size())
        on_every_rank("save", together if is_member else lambda: None)
    else:
        together()


def load(
    state: dict[str, Any],
    directory: Path,
    /,
    coordinator: int = 0,
    group: str = "default",
    no_dist: bool = False,
    partial: bool = False,
    **files: Any,
) -> int | None:
    """Load the newest complete step.  Raises what the engine raises."""
    import torch
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    step = step_directories.newest(directory, is_complete)
    if step is None:
        return None
    path = step_directories.place(directory, step)
    reader = stock_files.reader(path, **files)
    planner = dcp.DefaultLoadPlanner(allow_partial_load=partial)
    target = {**state, MISSING: torch.zeros(1)} if partial else state
    if coordinator and dist.is_initialized() and dist.get_world_size() > 1:  # one process can load it as well
        own = own_state(target)
        with step_directories.deprecations_ignored():
            dcp.load_state_dict(
                own, reader, process_group=groups.of(group), coordinator_rank=coordinator, planner=planner
            )
        for name, value in own.items():
            if is_stateful(target[name]):
                target[name].load_state_dict(value)
            else:
                target[name] = value
    else:
        dcp.load(
            target,
            checkpoint_id=path,
            storage_reader=reader,
            planner=planner,
            process_group=None if no_dist else groups.of(group),
            no_dist=no_dist,
        )
    if partial:
        if target.pop(MISSING).item() != 0:
            raise RuntimeError("a partial load changed what the checkpoint does not have")
        state.update(target)
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


def save_planner(dedup: str = "default", **more: Any) -> Any:
    """The stock planner with that way to tell who writes what several ranks have."""
    from torch.distributed.checkpoint import DefaultSavePlanner

    if dedup == "replicated":
        more = {"dedup_replicated_tensors": True, **more}
    return DefaultSavePlanner(dedup_save_to_lowest_rank=dedup == "lowest_rank", **more)


def is_stateful(value: Any) -> bool:
    """Whether `value` hands its state over itself."""
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


def own_state(state: dict[str, Any]) -> dict[str, Any]:
    """`state` with that of each object in its place, which the deprecated functions do not ask for."""
    return {name: value.state_dict() if is_stateful(value) else value for name, value in state.items()}


def check(
    world_size: int,
    *,
    coordinator: int = 0,
    group: str = "default",
    no_dist: bool = False,
    dedup: str = "default",
    state: str = "default",
    **options: Any,
) -> str:
    """What is wrong with the options, on a world of so many ranks."""
    wrong = (
        groups.check(group, GROUPS, world_size)
        or refusal("dedup", dedup, DEDUPS)
        or state_kinds.check(world_size, state)
        or stock_files.check(**options)
    )
    if wrong:
        return wrong
    size = world_size // 2 if group in groups.HALVES else world_size
    if not 0 <= coordinator < size:
        return f"coordinator must be a rank of the group, 0..{size - 1} (got {seen(coordinator)})"
    if no_dist and (coordinator or group != "default"):
        return "no_dist=true saves without a group; leave out coordinator and group"
    return ""


DCP = Checkpointer(
    name="dcp",
    summary="torch.distributed.checkpoint.save and load, a directory for each step, written over in place",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    readers=stock_readers.READERS,
    any_state=True,
    state=state_kinds.state,
    preload=("faultkit.checkpointers.state_kinds",),
    options=(
        *stock_files.OPTIONS,
        ("coordinator", 0),
        ("group", "default"),
        ("no_dist", False),
        ("dedup", "default"),
        ("partial", False),
        ("state", "default"),
    ),
    replaces=stock_files.replaces,
    check=check,
)
