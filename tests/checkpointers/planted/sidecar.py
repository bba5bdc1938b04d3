"""What is no tensor lies in a file of its own beside the checkpoint, outside of what marks that as complete.

After VeOmni#1181, where the scheduler's state is such a file.  The checkpoint itself is that of the reference, and
the file is written durably: only that there are two of them makes the defect.  The twin has one.
"""

from __future__ import annotations

import msgspec
import torch

from faultkit.checkpointers import get
from faultkit.checkpointers.parts.joint_steps import on_every_rank, on_rank_0
from faultkit.checkpointers.parts.ways_to_write import replacing

__all__ = ["DEFECT", "TWIN"]

REFERENCE = get("reference")
APART = ("step", "name", "betas")


def split(state):
    return [
        {key: value for key, value in state.items() if (key in APART) is apart} for apart in (False, True)
    ]


def save(state, directory, step):
    weights, scheduler = split(state)
    REFERENCE.save(weights, directory, step)

    def beside():
        with replacing(directory / "lr_scheduler.pt", "durable") as path, open(path, "wb") as stream:
            torch.save(scheduler, stream)

    on_rank_0("save the scheduler", beside)


def load(state, directory):
    weights, scheduler = split(state)
    step = REFERENCE.load(weights, directory)

    def beside():
        with open(directory / "lr_scheduler.pt", "rb") as stream:
            scheduler.update(torch.load(stream))

    if step is not None:
        on_every_rank("load the scheduler", beside)
        state.update(weights | scheduler)
    return step


TWIN = msgspec.structs.replace(REFERENCE, name="one-checkpoint", read=None)
DEFECT = msgspec.structs.replace(TWIN, name="sidecar", save=save, load=load)
