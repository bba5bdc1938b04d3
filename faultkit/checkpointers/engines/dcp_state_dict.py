"""`get_state_dict` and `set_state_dict` around the stock engine: a model, its AdamW and its scheduler, as in a job.

A save puts the state into an application and saves what the application gives; a load makes an application anew, loads
into it, and takes the state out of it again.  What these functions lose, change or forget so shows as a state that is
not what was saved.

    wrap         none; ddp: `DistributedDataParallel`; fsdp2: `fully_shard`, each layer and the whole
    full         full_state_dict: every rank gets whole tensors
    cpu_offload  with `full` rank 0 alone gets the state, which only `broadcast` can load
    broadcast    broadcast_from_rank0: rank 0 loads, the others get it from there
    flatten      flatten_optimizer_state_dict
    together     whether `set_state_dict` takes model and optimizer, or each has a function of its own
    frozen       no; always: the first layer is not trained, and the optimizer has no state of it; at_load: only the job
                 that loads does not train it

It is complete, counted and pruned as `dcp`.  torch is imported on the ranks.  Not covered: other optimizers, tied
weights, parallelism by tensors, and what accelerators do otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.engines import dcp
from faultkit.checkpointers.parts import step_directories, stock_files
from faultkit.checkpointers.parts.choices import refusal
from faultkit.checkpointers.parts.joint_steps import on_rank_0

__all__ = ["DCP_STATE_DICT", "check", "load", "save", "state"]

WRAPS = ("none", "ddp", "fsdp2")
FROZEN = ("no", "always", "at_load")


def save(
    state: dict[str, Any],
    directory: Path,
    step: int,
    /,
    wrap: str = "fsdp2",
    frozen: str = "no",
    full: bool = False,
    cpu_offload: bool = False,
    broadcast: bool = False,
    flatten: bool = False,
    together: bool = True,
    **files: Any,
) -> None:
    """Save `state` as `step`, by way of an application.  Raises what the engine raises."""
    import torch.distributed.checkpoint as engine
    from torch.distributed.checkpoint import state_dict

    from faultkit.checkpointers.application import Application

    application = Application(wrap, frozen == "always")
    application.fill(state)
    how = _options(full=full, cpu_offload=cpu_offload, flatten=flatten)
    model, optimizer = state_dict.get_state_dict(application.model, application.optimizer, options=how)
    path = step_directories.place(directory, step)
    engine.save(
        {"model": model, "optimizer": optimizer, "scheduler": application.scheduler.state_dict()},
        checkpoint_id=path,
        storage_writer=stock_files.writer(path, **files),
    )


def load(
    state: dict[str, Any],
    directory: Path,
    /,
    wrap: str = "fsdp2",
    frozen: str = "no",
    full: bool = False,
    cpu_offload: bool = False,
    broadcast: bool = False,
    flatten: bool = False,
    together: bool = True,
    **files: Any,
) -> int | None:
    """Load the newest complete step, by way of a new application.  Raises what the engine raises."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as engine
    from torch.distributed.checkpoint import state_dict

    from faultkit.checkpointers.application import Application

    step = step_directories.newest(directory, dcp.is_complete)
    if step is None:
        return None
    application = Application(wrap, frozen != "no")
    application.fill_model(state)
    how = _options(full=full, cpu_offload=cpu_offload, flatten=flatten)
    model, optimizer = state_dict.get_state_dict(application.model, application.optimizer, options=how)
    target = {"model": model, "optimizer": optimizer, "scheduler": application.scheduler.state_dict()}
    path = step_directories.place(directory, step)
    reader = stock_files.reader(path, **files)
    if broadcast:
        on_rank_0(
            "load", lambda: engine.load(target, checkpoint_id=path, storage_reader=reader, no_dist=True)
        )
        if dist.is_initialized():
            told = [target["scheduler"]]
            dist.broadcast_object_list(told)
            target["scheduler"] = told[0]
            if dist.get_rank():
                target |= {"model": {}, "optimizer": {}}
    else:
        engine.load(target, checkpoint_id=path, storage_reader=reader)
    how = _options(full=full, cpu_offload=cpu_offload, flatten=flatten, broadcast=broadcast)
    if together:
        state_dict.set_state_dict(
            application.model,
            application.optimizer,
            model_state_dict=target["model"],
            optim_state_dict=target["optimizer"],
            options=how,
        )
    else:
        state_dict.set_model_state_dict(application.model, target["model"], options=how)
        state_dict.set_optimizer_state_dict(
            application.model, application.optimizer, target["optimizer"], options=how
        )
    application.scheduler.load_state_dict(target["scheduler"])
    application.give(state)
    return step


def state(step: int, rank: int, world_size: int, frozen: str = "no") -> dict[str, Any]:
    """What the application has after `step` steps, whole on every rank."""
    from faultkit.checkpointers.application import state_after

    return state_after(step, frozen == "always")


def check(
    world_size: int,
    wrap: str = "fsdp2",
    full: bool = False,
    cpu_offload: bool = False,
    broadcast: bool = False,
    frozen: str = "no",
    **options: Any,
) -> str:
    """What is wrong with the options."""
    wrong = refusal("wrap", wrap, WRAPS) or refusal("frozen", frozen, FROZEN) or stock_files.check(**options)
    if wrong:
        return wrong
    if broadcast and not full:
        return "broadcast=true gives whole tensors to all ranks and needs full=true"
    if full and cpu_offload and not broadcast:
        return "cpu_offload=true with full=true gives the state to rank 0 alone and needs broadcast=true"
    return ""


def _options(*, full: bool, cpu_offload: bool, flatten: bool, broadcast: bool = False) -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(
        full_state_dict=full,
        cpu_offload=cpu_offload,
        broadcast_from_rank0=broadcast,
        flatten_optimizer_state_dict=flatten,
    )


DCP_STATE_DICT = Checkpointer(
    name="dcp-state-dict",
    summary="get_state_dict and set_state_dict of a model, AdamW and a scheduler, under FSDP2 or DDP",
    save=save,
    load=load,
    steps=dcp.steps,
    prune=dcp.prune,
    state=state,
    preload=("faultkit.checkpointers.application",),
    options=(
        ("wrap", "fsdp2"),
        ("full", False),
        ("cpu_offload", False),
        ("broadcast", False),
        ("flatten", False),
        ("together", True),
        ("frozen", "no"),
        *stock_files.OPTIONS,
    ),
    replaces=stock_files.replaces,
    check=check,
)
