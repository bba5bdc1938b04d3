"""A crash leaves the old checkpoint or the new one.

Broken: each rank looks for itself what there is to load, so that one may begin anew alone.
"""

import os

import torch
import torch.distributed as dist

from faultkit import Checkpointer


def on_rank_0(function):
    """Calls `function` on rank 0 alone; every rank gets what it gives, or an error if it raised."""
    told = [None, None]
    if dist.get_rank() == 0:
        try:
            told[0] = function()
        except Exception as error:
            told[1] = error
    dist.broadcast_object_list(told)
    if told[1] is not None:
        raise RuntimeError(f"rank 0 failed: {told[1]}") from told[1]
    return told[0]


def write_whole(path, write):
    """The old file or the new one, whatever happens: written beside it, synced, renamed, and the folder synced."""
    beside = path.with_name(path.name + ".tmp")
    with open(beside, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save(state, directory, step):
    def write():
        content = {"step": step, "state": state}
        write_whole(directory / f"step-{step}.pt", lambda file: torch.save(content, file))
        write_whole(directory / "LATEST", lambda file: file.write(str(step).encode()))

    on_rank_0(write)


def load(state, directory):
    if not (directory / "LATEST").exists():
        return None
    step = (directory / "LATEST").read_text()
    loaded = torch.load(directory / f"step-{step}.pt")
    for name, value in loaded["state"].items():
        state[name].copy_(value)
    return loaded["step"]


def make_state(step, rank, world_size):
    return {"weight": torch.full((64, 3), float(step)), "bias": torch.full((3,), -float(step))}


MANAGER = Checkpointer(name="splits", save=save, load=load, state=make_state)
