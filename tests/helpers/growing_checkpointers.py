"""A correct checkpointer of few lines, and the same with something that it has more of with each save.

Rank 0 grows by descriptors, temporary files and files of checkpoints, the last rank by memory, threads and shared
memory.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import threading
from pathlib import Path

import torch
import torch.distributed as dist

from faultkit import Checkpointer

KEPT = []  # for the life of the process
LEAK_BYTES = 4096


def make_state(step, rank, world_size):
    return {"weight": torch.arange(6.0) + 100 * step, "step": step}


def save(state, directory, step, grows="nothing"):
    with tempfile.NamedTemporaryFile() as scratch, contextlib.closing(mmap.mmap(-1, LEAK_BYTES)):
        scratch.write(b"1")
    if dist.get_rank() == 0:
        torch.save(state, directory / f"{step}.pt")
    if grows == "all":
        grow(directory, step)
    dist.barrier()


def grow(directory, step):
    if dist.get_rank() == 0:
        KEPT.append(os.open(directory / f"{step}.pt", os.O_RDONLY))
        os.close(tempfile.mkstemp(prefix="scratch-")[0])
        (directory / f"log-{step}").touch()
    if dist.get_rank() == dist.get_world_size() - 1:
        KEPT.append(torch.zeros(LEAK_BYTES, dtype=torch.uint8))
        waiting = threading.Thread(target=threading.Event().wait, name="uploader", daemon=True)
        waiting.start()
        KEPT.append(mmap.mmap(-1, 2 * LEAK_BYTES))


def load(state, directory):
    found = steps(directory)
    if not found:
        return None
    stored = torch.load(directory / f"{found[-1]}.pt", weights_only=True)
    state["weight"].copy_(stored["weight"])
    state["step"] = stored["step"]
    dist.barrier()
    return found[-1]


def steps(directory):
    return sorted(int(path.stem) for path in directory.glob("*.pt"))


def prune(directory, keep):
    if dist.get_rank() == 0:
        for step in steps(directory)[:-keep]:
            (directory / f"{step}.pt").unlink()
    dist.barrier()


GROWING = Checkpointer(
    name="growing",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    state=make_state,
    options=(("grows", "nothing"),),
)


def clear_temporary_files():
    for path in Path(tempfile.gettempdir()).glob("scratch-*"):
        path.unlink()


def keep_numbers(directory):
    """A plain function, each call of which keeps a list of numbers."""
    KEPT.append([float(number) for number in range(500)])


def fails(directory):
    raise OSError("no disk")
