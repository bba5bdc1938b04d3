"""Each rank names the checkpoint by itself, and the names differ.

The stock engine never compares `checkpoint_id`: the save succeeds everywhere, in two halves.  In the twin rank 0 names
it.
"""

from __future__ import annotations

import functools
import uuid

import torch.distributed.checkpoint as dcp

from faultkit import Checkpointer
from faultkit.checkpointers.parts.joint_steps import on_rank_0

__all__ = ["DEFECT", "TWIN"]


def save(state, directory, step, is_common):
    def name():
        return f"step-{step}-{uuid.uuid4().hex}"

    place = directory / (on_rank_0("name", name) if is_common else name())
    dcp.save(state, checkpoint_id=place)


def load(state, directory):
    def newest():
        found = [path.parent for path in directory.glob("step-*/.metadata")]
        return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)

    place = on_rank_0("look", newest)
    if place is None:
        return None
    dcp.load(state, checkpoint_id=place)
    return int(place.name.split("-")[1])


def checkpointer(name, is_common):
    return Checkpointer(
        name=name,
        save=functools.partial(save, is_common=is_common),
        load=load,
        points=("writer.write_data", "writer.finish", "fs.write", "fs.rename"),
        replaces=False,
        preload=(__name__,),
    )


DEFECT = checkpointer("own-places", False)
TWIN = checkpointer("one-place", True)
