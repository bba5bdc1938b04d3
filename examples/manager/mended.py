"""The same manager, mended: all ranks learn of an error, one rename publishes, and what is old goes last.

Every save has a directory of its own, `step-N.M`, the M-th save of all; it is complete once it has that name.
"""

from __future__ import annotations

import os
import shutil

import torch
import torch.distributed as dist

from faultkit import Checkpointer


def make_state(step, rank, world_size):
    return {"weight": torch.arange(6.0) + 100 * step, "bias": torch.arange(3.0) - 100 * step, "step": step}


def save(state, directory, step):
    rank = dist.get_rank()
    place = directory / together(lambda: f"step-{step}.{next_number(directory)}" if rank == 0 else None)[0]
    working = place.with_name(f"{place.name}.saving")
    together(lambda: begin(directory, working) if rank == 0 else None)
    together(lambda: write(state, working / f"rank-{rank}.pt"))
    together(lambda: publish(working, place) if rank == 0 else None)


def load(state, directory):
    name = together(lambda: newest(directory) if dist.get_rank() == 0 else None)[0]
    if name is None:
        return None
    loaded = {}
    together(lambda: loaded.update(torch.load(directory / name / f"rank-{dist.get_rank()}.pt")))
    for key, value in loaded.items():
        if isinstance(value, torch.Tensor):
            state[key].copy_(value)
        else:
            state[key] = value
    return parts(name)[0]


def steps(directory):
    return [step for step, _ in saves(directory)]


def prune(directory, keep):
    def remove():
        for step, number in saves(directory)[:-keep]:
            shutil.rmtree(directory / f"step-{step}.{number}")

    together(lambda: remove() if dist.get_rank() == 0 else None)


def together(work):
    """What `work` gave on each rank; where it failed on any, every rank raises, and says where and why."""
    given = failed = None
    try:
        given = work()
    except BaseException as error:  # an interrupt, too: whatever it is, the others wait
        failed = error
    results = [None] * dist.get_world_size()
    dist.all_gather_object(results, (given, failed and words_of(failed)))
    if any(error for _, error in results):
        told = "; ".join(f"rank {rank}: {error}" for rank, (_, error) in enumerate(results) if error)
        raise RuntimeError(f"the checkpoint failed on {told}") from failed
    return [given for given, _ in results]


def words_of(error):
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # an error that cannot be printed must not keep the others from learning of it
        return type(error).__name__


def parts(name):
    step, _, number = name.removeprefix("step-").partition(".")
    return int(step), int(number)


def saves(directory):
    """(step, number) of all that are complete, newest last."""
    names = [name for name in os.listdir(directory) if name.startswith("step-") and not name.endswith("ing")]
    return sorted(map(parts, names), key=lambda save: save[::-1])


def newest(directory):
    found = saves(directory)
    return "step-{}.{}".format(*found[-1]) if found else None


def next_number(directory):
    return 1 + max((number for _, number in saves(directory)), default=0)


def begin(directory, working):
    for name in os.listdir(directory):
        if name.endswith(".saving"):  # of a save that came to no end
            shutil.rmtree(directory / name)
    working.mkdir()


def write(state, path):
    with open(path, "xb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    sync(path.parent)


def publish(working, place):
    os.rename(working, place)
    sync(place.parent)


def sync(directory):
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


MANAGER = Checkpointer(
    name="manager",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    state=make_state,
    reshards=False,
    unpromised=("damage", "fallback"),  # it keeps no checksums
)
