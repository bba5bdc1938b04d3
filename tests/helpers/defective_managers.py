"""Checkpoint managers with one known defect each: the robust one, or the stock one, with one thing done wrong.

They stand for the mistakes of real managers, and none of them shows in the life of a job in which nothing fails,
nothing is pruned, and nobody looks twice.
"""

from __future__ import annotations

import shutil

import msgspec
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit.history import managers as shipped
from faultkit.strategies import dcp_manager, renaming_manager

__all__ = ["DEFECTS", "forgetful", "refusing"]

DEFECTS = {}


def defect(base):
    """Adds `base` to DEFECTS under the function's name, with what the function returns instead."""

    def add(function):
        DEFECTS[function.__name__] = msgspec.structs.replace(base, name=function.__name__, **function())
        return function

    return add


def _on_first_rank(function):
    if dist.get_rank() == 0:
        function()
    dist.barrier()


def _every_step(folder):
    return sorted(int(path.name.removeprefix("step-")) for path in folder.iterdir())


def _load_newest_folder(state, folder):
    step = max(_every_step(folder), default=None)
    if step is not None:
        dcp.load(state, checkpoint_id=folder / f"step-{step}")
    return step


@defect(dcp_manager)
def takes_the_newest_folder():
    return {"load_latest": _load_newest_folder, "list": _every_step}


@defect(dcp_manager)
def lists_the_newest_folder():
    return {"list": _every_step}


def _save_whatever_happens(state, step, folder):
    try:
        renaming_manager.save(state, step, folder)
    except dcp.api.CheckpointException:  # which is no Exception
        pass


@defect(renaming_manager)
def acknowledges_before_all_wrote():
    return {"save": _save_whatever_happens}


def _prune_the_newest(folder, keep):
    def remove():
        for step in shipped._renamed_steps(folder)[keep:]:
            for path in folder.glob(f"step-{step}.*"):
                shutil.rmtree(path)

    _on_first_rank(remove)


@defect(renaming_manager)
def prunes_the_newest():
    return {"prune": _prune_the_newest}


def _path_of(folder, step):
    return max(folder.glob(f"step-{step}.*"))


def _load_parts_of_two(state, folder):
    steps = shipped._renamed_steps(folder)
    if not steps:
        return None
    dcp.load(state, checkpoint_id=_path_of(folder, steps[-1]))
    optimizer = {"optimizer": state["optimizer"]}
    dcp.load(optimizer, checkpoint_id=_path_of(folder, steps[-2:][0]))
    return steps[-1]


@defect(renaming_manager)
def loads_a_mix_of_two_steps():
    return {"load_latest": _load_parts_of_two}


def _load_by_rank(state, folder):
    steps = shipped._renamed_steps(folder)
    if not steps:
        return None
    own = steps[-1 - dist.get_rank() % len(steps)]
    dcp.load(state, checkpoint_id=_path_of(folder, own))
    return own


@defect(renaming_manager)
def chooses_by_rank():
    return {"load_latest": _load_by_rank}


def _load_what_can_be_read(state, folder):
    for step in reversed(shipped._renamed_steps(folder)):
        try:
            dcp.load(state, checkpoint_id=_path_of(folder, step))
        except dcp.api.CheckpointException:
            continue
        return step
    return None


@defect(renaming_manager)
def falls_back_when_reading_fails():
    return {"load_latest": _load_what_can_be_read}


def _save_without_clearing(state, step, folder):
    if (folder / "saving").exists():
        raise FileExistsError("another save is going on")
    dist.barrier()
    renaming_manager.save(state, step, folder)


@defect(renaming_manager)
def cannot_save_after_a_failed_save():
    return {"save": _save_without_clearing}


def _load_without_resharding(state, folder):
    step = renaming_manager.load_latest(state, folder)
    if step is not None and dist.get_world_size() > 1 and dist.get_rank() > 0:
        rows = state["rows"].to_local()
        if not (_path_of(folder, step) / f"__{dist.get_rank()}_0.distcp").exists():
            rows.zero_()
    return step


@defect(renaming_manager)
def loads_nothing_on_new_ranks():
    return {"load_latest": _load_without_resharding}


refusing = DEFECTS["takes_the_newest_folder"]  # by an error of the engine, where it is incomplete

_loads = []  # of this process


def _load_until_tired(state, folder):
    _loads.append(folder)
    return None if len(_loads) > 3 else renaming_manager.load_latest(state, folder)


forgetful = msgspec.structs.replace(renaming_manager, name="forgetful", load_latest=_load_until_tired)
