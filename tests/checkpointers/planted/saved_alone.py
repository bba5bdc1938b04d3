"""Rank 0 saves with `no_dist` a state of which it has only its own shards.

The stock engine checks that what is there is consistent, not that all of it is there: the load has holes, and says
nothing.  The twin gathers the state first.
"""

from __future__ import annotations

import functools

import torch.distributed.checkpoint as dcp

from faultkit import Checkpointer
from faultkit.checkpointers.parts import pieces
from faultkit.checkpointers.parts.joint_steps import on_rank_0

__all__ = ["DEFECT", "TWIN"]


def save(state, directory, step, is_gathered):
    state = pieces.whole(state) if is_gathered else state
    place = directory / f"step-{step}"
    on_rank_0("save", lambda: dcp.save(state, checkpoint_id=place, no_dist=True))


def load(state, directory):
    found = [int(path.parent.name[5:]) for path in directory.glob("step-*/.metadata")]
    step = on_rank_0("look", lambda: max(found, default=None))
    if step is not None:
        dcp.load(state, checkpoint_id=directory / f"step-{step}")
    return step


def checkpointer(name, is_gathered):
    return Checkpointer(
        name=name,
        save=functools.partial(save, is_gathered=is_gathered),
        load=load,
        replaces=False,
        preload=(__name__,),
    )


DEFECT = checkpointer("saved-alone", False)
TWIN = checkpointer("gathered-and-saved-alone", True)
