"""A manager as somebody writes it in an afternoon, with up to three bugs of the kinds that such have.

    pointer    the pointer to the newest checkpoint is written before every rank has written its part
    swallow    a rank keeps an error of its own for itself
    prune      what is old is removed before what is new is there

With `bugs="none"` it keeps what it promises.
"""

from __future__ import annotations

import os
import shutil

import torch
import torch.distributed as dist

from faultkit import Checkpointer

BUGS = ("pointer", "swallow", "prune")


def make_state(step, rank, world_size):
    return {"weight": torch.arange(6.0) + 100 * step, "bias": torch.arange(3.0) - 100 * step, "step": step}


def save(state, directory, step, bugs="none"):
    rank = dist.get_rank()
    told = [0]

    def number():
        if rank == 0:
            told[0] = 1 + max(
                (int(path.name.rpartition(".")[2]) for path in directory.glob("step-*.*")), default=0
            )

    _together(number)
    dist.broadcast_object_list(told)
    name = f"step-{step}.{told[0]}"

    def begin():
        if "prune" in bugs:
            _remove_all_but(directory, "")
        (directory / name).mkdir()
        if "pointer" in bugs:
            _point_to(directory, name)

    def write():
        _write(directory / name / f"rank-{rank}.pt", state)
        _sync(directory / name)

    def publish():
        _sync(directory)
        if "pointer" not in bugs:
            _point_to(directory, name)
        _remove_all_but(directory, name)

    _together(lambda: begin() if rank == 0 else None)
    _together(write, is_told="swallow" not in bugs)
    _together(lambda: publish() if rank == 0 else None)


def load(state, directory):
    told = [None]

    def look():
        if dist.get_rank() == 0 and (directory / "latest").exists():
            told[0] = (directory / "latest").read_text()

    _together(look)
    dist.broadcast_object_list(told)
    if told[0] is None:
        return None
    loaded = {}
    _together(
        lambda: loaded.update(
            torch.load(directory / told[0] / f"rank-{dist.get_rank()}.pt", weights_only=True)
        )
    )
    for key, value in loaded.items():
        if isinstance(value, torch.Tensor):
            state[key].copy_(value)
        else:
            state[key] = value
    return int(told[0].removeprefix("step-").partition(".")[0])


def _together(work, *, is_told=True):
    """Do it on every rank, and raise on every rank where it failed on any."""
    failed = None
    try:
        work()
    except BaseException as error:  # whatever it is, the others wait
        failed = error
    if not is_told:
        dist.barrier()
        return
    errors = [None] * dist.get_world_size()
    dist.all_gather_object(
        errors, None if failed is None else f"{type(failed).__name__}: {_words_of(failed)}"
    )
    if any(errors):
        told = ", ".join(f"rank {rank}: {error}" for rank, error in enumerate(errors) if error)
        raise RuntimeError(f"the work failed on {told}") from failed


def _words_of(error):
    try:
        return str(error)
    except BaseException:
        return "(cannot be printed)"


def _write(path, state):
    with open(path, "xb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _point_to(directory, name):
    with open(directory / "latest.new", "w") as stream:
        stream.write(name)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(directory / "latest.new", directory / "latest")
    _sync(directory)


def _remove_all_but(directory, name):
    for path in directory.glob("step-*"):
        if path.name != name:
            shutil.rmtree(path)


def _sync(directory):
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


THREE = Checkpointer(
    name="three",
    save=save,
    load=load,
    state=make_state,
    points=("fs.*",),
    load_points=("fs.*",),
    options=(("bugs", "none"),),
    reshards=False,
    unpromised=("damage",),
)
