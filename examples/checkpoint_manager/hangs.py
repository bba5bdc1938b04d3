"""A checkpoint manager as many jobs have one: rank 0 writes, the others wait.

Broken: where rank 0 fails, they wait for ever.
"""

import torch
import torch.distributed as dist

from faultkit import Checkpointer


def save(state, directory, step):  # on every rank
    if dist.get_rank() == 0:
        torch.save({"step": step, "state": state}, directory / f"step-{step}.pt")
        (directory / "LATEST").write_text(str(step))
    dist.barrier()


def load(state, directory):  # on every rank, in place; the step, or None where there is nothing
    if not (directory / "LATEST").exists():
        return None
    step = (directory / "LATEST").read_text()
    loaded = torch.load(directory / f"step-{step}.pt")
    for name, value in loaded["state"].items():
        state[name].copy_(value)
    return loaded["step"]


def make_state(step, rank, world_size):
    return {"weight": torch.full((64, 3), float(step)), "bias": torch.full((3,), -float(step))}


MANAGER = Checkpointer(name="hangs", save=save, load=load, state=make_state)
