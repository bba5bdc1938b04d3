"""A checkpointer that saves each rank's random states along, and those of rank 0 for all."""

from __future__ import annotations

import pickle
import random

import torch
import torch.distributed as dist

from faultkit import Checkpointer


def make_state(step, rank, world_size):
    return {"step": step, "rank": rank}


def save(state, directory, step, of="each"):
    kept = {**state, "torch": torch.get_rng_state(), "python": random.getstate()}
    if of == "rank_0_by_torch":
        dist.broadcast(kept["torch"], src=0)
    elif of == "rank_0_by_python":
        told = [kept["python"]]
        dist.broadcast_object_list(told)
        kept["python"] = told[0]
    (directory / f"{step}-{dist.get_rank()}.new").write_bytes(pickle.dumps(kept))
    dist.barrier()
    (directory / f"{step}-{dist.get_rank()}.new").rename(directory / f"{step}-{dist.get_rank()}.pkl")
    dist.barrier()


def load(state, directory, of="each"):
    told = [max((int(path.name.partition("-")[0]) for path in directory.glob("*.pkl")), default=None)]
    dist.broadcast_object_list(told)
    if told[0] is None:
        return None
    place = 0 if of == "rank_0_at_load" else dist.get_rank()
    kept = pickle.loads((directory / f"{told[0]}-{place}.pkl").read_bytes())
    torch.set_rng_state(kept.pop("torch"))
    random.setstate(kept.pop("python"))
    state.update(kept, rank=dist.get_rank())
    return told[0]


RANDOM = Checkpointer(
    name="random", save=save, load=load, state=make_state, reshards=False, options=(("of", "each"),)
)
