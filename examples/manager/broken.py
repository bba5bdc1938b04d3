"""A checkpoint manager as the first one often is: a directory for each step, and a file that names the newest."""

from __future__ import annotations

import shutil

import torch
import torch.distributed as dist

from faultkit import Checkpointer


def make_state(step, rank, world_size):
    return {"weight": torch.arange(6.0) + 100 * step, "bias": torch.arange(3.0) - 100 * step, "step": step}


def save(state, directory, step):
    rank, place = dist.get_rank(), directory / f"step-{step}"
    if rank == 0:
        place.mkdir(exist_ok=True)
        (directory / "latest").write_text(str(step))
    dist.barrier()
    try:
        torch.save(state, place / f"rank-{rank}.pt")
    except Exception as error:
        print(f"rank {rank}: the checkpoint of step {step} failed: {error}")
    dist.barrier()


def load(state, directory):
    if not (directory / "latest").exists():
        return None
    step = int((directory / "latest").read_text())
    state.update(torch.load(directory / f"step-{step}" / f"rank-{dist.get_rank()}.pt"))
    return step


def steps(directory):
    return sorted(int(path.name.partition("-")[2]) for path in directory.glob("step-*"))


def prune(directory, keep):
    if dist.get_rank() == 0:
        for step in steps(directory)[:-keep]:
            shutil.rmtree(directory / f"step-{step}")
    dist.barrier()


MANAGER = Checkpointer(
    name="manager", save=save, load=load, steps=steps, prune=prune, state=make_state, reshards=False
)
