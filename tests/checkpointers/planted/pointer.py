"""A pointer says which files the newest checkpoint has; it is made from a listing of the directory.

After templar#607: the listing of a shared directory lags behind, and what it leaves out is not published.  The twin
asks the ranks what they wrote.
"""

from __future__ import annotations

import functools
import json
import os

import torch
import torch.distributed as dist

from faultkit import Checkpointer
from faultkit.checkpointers.parts import pieces
from faultkit.checkpointers.parts.joint_steps import on_every_rank, on_rank_0
from faultkit.checkpointers.parts.ways_to_write import made, replacing

__all__ = ["DEFECT", "TWIN"]

POINTER = "latest.json"


def save(state, directory, step, is_listed):
    place = directory / f"step-{step}"
    on_rank_0("make the directory", lambda: made(place, "durable"))

    def write():
        name = f"rank-{dist.get_rank()}.pt"
        with replacing(place / name, "durable") as path, open(path, "wb") as stream:
            parts = {name: pieces.pieces(value) for name, value in pieces.named(state).items()}
            torch.save(parts, stream)
        return name

    written = on_every_rank("write", write)

    def publish():
        names = sorted(os.listdir(place)) if is_listed else written
        with replacing(directory / POINTER, "durable") as path:
            path.write_text(json.dumps({"step": step, "names": names}))

    on_rank_0("publish", publish)


def load(state, directory):
    def read():
        if not (directory / POINTER).exists():
            return None
        pointer = json.loads((directory / POINTER).read_text())
        stored = {}
        for name in pointer["names"]:
            with open(directory / f"step-{pointer['step']}" / name, "rb") as stream:
                for key, parts in torch.load(stream).items():
                    stored.setdefault(key, {}).update(dict(parts))
        pieces.fill(state, {key: list(parts.items()) for key, parts in stored.items()})
        return pointer["step"]

    return on_every_rank("load", read)[0]


def checkpointer(name, is_listed):
    return Checkpointer(
        name=name,
        save=functools.partial(save, is_listed=is_listed),
        load=load,
        points=("fs.*",),
        replaces=False,
        preload=(__name__,),
    )


DEFECT = checkpointer("pointer-from-a-listing", True)
TWIN = checkpointer("pointer-from-the-ranks", False)
