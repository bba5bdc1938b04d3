"""Rank 0 clears the folder and makes it anew, and no rank waits for it before it writes.

After pytorch#196591.  A rank that is early finds no folder, or loses what it has written.  In the twin all wait.
"""

from __future__ import annotations

import functools
import json
import shutil

import torch
import torch.distributed as dist

from faultkit import Checkpointer
from faultkit.checkpointers.parts import pieces
from faultkit.checkpointers.parts.joint_steps import on_every_rank, on_rank_0

__all__ = ["DEFECT", "TWIN"]


def save(state, directory, step, waits):
    place = directory / f"step-{step}"

    def clear():
        if place.exists():
            shutil.rmtree(place)
        place.mkdir()

    if waits:
        on_rank_0("clear", clear)

    def write():
        if not waits and dist.get_rank() == 0:
            clear()
        parts = {name: pieces.pieces(value) for name, value in pieces.named(state).items()}
        with open(place / f"rank-{dist.get_rank()}.pt", "wb") as stream:
            torch.save(parts, stream)

    on_every_rank("write", write)
    on_rank_0("mark", lambda: (place / "ranks").write_text(json.dumps(dist.get_world_size())))


def load(state, directory):
    def read():
        steps = sorted(int(path.parent.name[5:]) for path in directory.glob("step-*/ranks"))
        if not steps:
            return None
        place = directory / f"step-{steps[-1]}"
        stored = {}
        for rank in range(json.loads((place / "ranks").read_text())):
            with open(place / f"rank-{rank}.pt", "rb") as stream:
                for name, parts in torch.load(stream).items():
                    stored.setdefault(name, {}).update(dict(parts))
        pieces.fill(state, {name: list(parts.items()) for name, parts in stored.items()})
        return steps[-1]

    return on_every_rank("load", read)[0]


def checkpointer(name, waits):
    return Checkpointer(
        name=name,
        save=functools.partial(save, waits=waits),
        load=load,
        points=("fs.*",),
        replaces=False,
        preload=(__name__,),
    )


DEFECT = checkpointer("no-barrier", False)
TWIN = checkpointer("barrier", True)
