"""A checkpointer that clears a place for the new step first, and the same without the barrier after that."""

from __future__ import annotations

import json
import os
import shutil

import torch.distributed as dist

from faultkit import Checkpointer


def make_state(step, rank, world_size):
    return {"step": step, "rank": rank}


def save(state, directory, step, waits=True):
    new = directory / "new"
    if dist.get_rank() == 0:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(directory / str(step), ignore_errors=True)
    if waits:
        dist.barrier()
    os.makedirs(new, exist_ok=True)
    (new / f"{dist.get_rank()}.json").write_text(json.dumps(state))
    dist.barrier()
    if dist.get_rank() == 0:
        os.rename(new, directory / str(step))
    dist.barrier()


def load(state, directory):
    steps = [int(path.name) for path in directory.iterdir() if path.name.isdigit()]
    if not steps:
        return None
    state.update(json.loads((directory / str(max(steps)) / f"{dist.get_rank()}.json").read_text()))
    return max(steps)


CLEARING = Checkpointer(
    name="clearing",
    save=save,
    load=load,
    state=make_state,
    reshards=False,
    options=(("waits", True),),
)
