"""A checkpointer of a user's own in some twenty lines, and the same with one defect each.

Rank 0 gathers what all ranks hold and saves it by torch.save; what it raises is raised on every rank.
"""

from __future__ import annotations

import concurrent.futures
import os

import torch
import torch.distributed as dist

from faultkit import Checkpointer

DEFECTS = (
    "cannot_be_simulated",
    "forgets_a_leaf",
    "forgets_a_leaf_at_times",
    "in_place",
    "loads_the_oldest",
    "names_another_step",
    "prunes_the_newest",
    "snapshot_is_late",
    "tells_nobody",
)


_saving = set()  # ranks, of which a process has one


def make_state(step, rank, world_size):
    return {"weight": torch.arange(6.0) + 100 * step, "bias": torch.arange(3.0) - 100 * step, "step": step}


def save(state, directory, step, defect="none"):
    errors = [None]
    if defect == "cannot_be_simulated":
        _saving.add(dist.get_rank())
        dist.barrier()
        if len(_saving) > 1:
            raise RuntimeError("ranks share what processes do not")
    forgets = defect == "forgets_a_leaf" or (
        defect == "forgets_a_leaf_at_times" and directory.name == "run-3"
    )
    if dist.get_rank() == 0:
        try:
            kept = {name: value for name, value in state.items() if not (forgets and name == "bias")}
            place = directory / f"{step}.pt"
            with open(place if defect == "in_place" else directory / "saving", "wb") as stream:
                torch.save(kept, stream)
                stream.flush()
                os.fsync(stream.fileno())
            if defect != "in_place":
                os.replace(directory / "saving", place)
                descriptor = os.open(directory, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
        except OSError as error:
            errors = [error]
    if defect == "tells_nobody":
        dist.barrier()
    else:
        dist.broadcast_object_list(errors)
    if errors[0] is not None and (defect != "tells_nobody" or dist.get_rank() == 0):
        raise errors[0] if defect != "tells_nobody" else RuntimeError("failed")


def load(state, directory, defect="none"):
    told = [steps(directory)]
    dist.broadcast_object_list(told)  # a rank that looks for itself may see what another one saves already
    [found] = told
    if not found:
        return None
    step = found[0] if defect == "loads_the_oldest" else found[-1]
    for name, value in torch.load(directory / f"{step}.pt", weights_only=True).items():
        if isinstance(value, torch.Tensor):
            state[name].copy_(value)
        else:
            state[name] = value
    return step + (defect == "names_another_step")


def steps(directory):
    return sorted(int(path.stem) for path in directory.glob("*.pt"))


def prune(directory, keep, defect="none"):
    if dist.get_rank() == 0:
        found = steps(directory)
        for step in found[keep:] if defect == "prunes_the_newest" else found[:-keep]:
            (directory / f"{step}.pt").unlink()
    dist.barrier()


def save_later(state, directory, step, defect="none"):
    """The same on a thread; the state is copied before the call returns, or else when the thread comes to it."""
    copied = {
        name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in state.items()
    }
    return _Later(lambda: save(state if defect == "snapshot_is_late" else copied, directory, step))


class _Later:
    """Begins when somebody asks for its result: the latest moment that there is."""

    def __init__(self, work):
        self.work = work

    def result(self, timeout=None):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(self.work).result(timeout)


MINE = Checkpointer(
    name="mine",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    state=make_state,
    options=(("defect", "none"),),
)
LATER = Checkpointer(
    name="later", save=save_later, load=load, state=make_state, options=(("defect", "none"),), is_async=True
)


def save_own_part(state, directory, step, defect="none"):
    """Each rank to a file of its own, all of which make the step."""
    rank = dist.get_rank()
    is_last = rank == dist.get_world_size() - 1
    if defect == "forgets_the_last_rank" and is_last:
        state = {**state, "weight": torch.zeros(6)}
    torch.save(state, directory / f"{step}-of-{rank}.pt")
    if defect == "loses_the_last_rank" and is_last:
        os.truncate(directory / f"{step}-of-{rank}.pt", 10)
    dist.barrier()


def load_own_part(state, directory):
    names = [None] * dist.get_world_size()
    dist.all_gather_object(names, sorted(directory.glob(f"*-of-{dist.get_rank()}.pt")))
    common = set.intersection(*({int(path.name.partition("-")[0]) for path in found} for found in names))
    if not common:
        return None
    step = max(common)
    state.update(torch.load(directory / f"{step}-of-{dist.get_rank()}.pt", weights_only=True))
    return step


def part_state(step, rank, world_size):
    return {"weight": torch.arange(6.0) + 100 * step + 1000 * rank, "step": step}


PARTS = Checkpointer(
    name="parts",
    save=save_own_part,
    load=load_own_part,
    state=part_state,
    options=(("defect", "none"),),
    reshards=False,
)
