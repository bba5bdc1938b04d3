"""`format_utils` around the stock engine: a checkpoint becomes one file of ``torch.save``, and that a checkpoint again.

    step-7/dcp          what all ranks save
    step-7/state.pt     what rank 0 makes of it, by `dcp_to_torch_save`
    step-7/back         what rank 0 makes of that, by `torch_save_to_dcp`

    load_from    back; torch: every rank reads the file and takes what it has of it; broadcast: rank 0 reads it and
                 gives it to the others, by `BroadcastingTorchSaveReader` and `DynamicMetaLoadPlanner`, tensors alone

A step is complete when what is loaded is there.  Everything is written over in place.  torch is imported on the ranks.

Known weak points (torch 2.13): nothing says that the file is whole, and nothing of it is synced; `broadcast` hangs on a
state with a distributed tensor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faultkit.checkpointers import state_kinds
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.engines import dcp
from faultkit.checkpointers.parts import pieces, step_directories, stock_files
from faultkit.checkpointers.parts.choices import refusal
from faultkit.checkpointers.parts.joint_steps import on_rank_0

__all__ = ["DCP_CONVERT", "check", "load", "prune", "save", "steps"]

SOURCES = ("back", "torch", "broadcast")
OF_TENSORS = ("tensors", "sharded", "shared", "shapes")
SAVED, FILE, BACK = "dcp", "state.pt", "back"


def save(state: dict[str, Any], directory: Path, step: int, /, load_from: str = "back", **files: Any) -> None:
    """Save `state` as `step`, and convert it.  Raises what the engine raises; of rank 0's conversions on every rank."""
    import torch.distributed.checkpoint as engine
    from torch.distributed.checkpoint import format_utils

    path = step_directories.place(directory, step)
    engine.save(state, checkpoint_id=path / SAVED, storage_writer=stock_files.writer(path / SAVED, **files))
    on_rank_0("to torch", lambda: format_utils.dcp_to_torch_save(path / SAVED, path / FILE))
    if load_from == "back":
        on_rank_0("to dcp", lambda: format_utils.torch_save_to_dcp(path / FILE, path / BACK))


def load(state: dict[str, Any], directory: Path, /, load_from: str = "back") -> int | None:
    """Load the newest complete step.  Raises what the engine raises."""
    import torch
    import torch.distributed.checkpoint as engine
    from torch.distributed.checkpoint import format_utils

    step = step_directories.newest(directory, _complete(load_from))
    if step is None:
        return None
    path = step_directories.place(directory, step)
    if load_from == "back":
        engine.load(state, checkpoint_id=path / BACK)
    elif load_from == "torch":
        found = pieces.named(torch.load(path / FILE, weights_only=False))
        pieces.fill(state, {name: pieces.pieces(value) for name, value in found.items()})
    else:
        engine.load(
            state,
            checkpoint_id=path / FILE,
            storage_reader=format_utils.BroadcastingTorchSaveReader(),
            planner=format_utils.DynamicMetaLoadPlanner(),
        )
    return step


def steps(directory: Path, load_from: str = "back") -> list[int]:
    """The complete steps."""
    return step_directories.steps(directory, _complete(load_from))


def prune(directory: Path, keep: int, load_from: str = "back") -> None:
    """Remove all but the `keep` newest."""
    step_directories.prune(directory, keep, _complete(load_from))


def check(
    world_size: int, load_from: str = "back", state: str = "default", extension: str = "none", **options: Any
) -> str:
    """What is wrong with the options."""
    wrong = (
        refusal("load_from", load_from, SOURCES)
        or state_kinds.check(world_size, state)
        or stock_files.check(**options)
    )
    if wrong:
        return wrong
    if extension == "complement":
        return "extension=complement is not known to format_utils; leave it out"
    if load_from == "broadcast" and state not in OF_TENSORS:
        return f"load_from=broadcast needs a state of tensors, such as state=tensors (got state={state})"
    return ""


def _complete(load_from: str) -> Any:
    if load_from == "back":
        return lambda path: dcp.is_complete(path / BACK)
    return lambda path: (path / FILE).exists()


DCP_CONVERT = Checkpointer(
    name="dcp-convert",
    summary="dcp_to_torch_save and torch_save_to_dcp of what the stock engine saved",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    state=state_kinds.state,
    preload=("faultkit.checkpointers.state_kinds",),
    points=("writer.*", "torch.*", "fs.*"),
    load_points=("reader.*", "torch.*", "fs.*"),
    options=(("load_from", "back"), *stock_files.OPTIONS, ("state", "default")),
    replaces=stock_files.replaces,
    check=check,
)
