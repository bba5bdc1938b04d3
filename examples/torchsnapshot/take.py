"""torchsnapshot: a snapshot for each step, taken of a model that every rank has whole.

    faultkit sweep examples.torchsnapshot.take:TAKE.save --world 2

A step that is saved again is taken over the older snapshot, from which torchsnapshot's documentation warns.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torchsnapshot import Snapshot, StateDict

from faultkit import Checkpointer

METADATA = ".snapshot_metadata"  # written last; a snapshot without it is none


def make_state(step, rank, world_size):
    return {"weight": torch.arange(64.0).view(8, 8) + 100 * step, "bias": torch.arange(8.0) - 100 * step}


def save(state, directory, step):
    app = {"model": StateDict(**state), "progress": StateDict(step=step)}
    Snapshot.take(str(directory / f"step_{step}"), app, replicated=["**"])


def load(state, directory):
    found = [steps(directory)]
    dist.broadcast_object_list(found)  # a rank that looks for itself may see what another one does not
    if not found[0]:
        return None
    model, progress = StateDict(**state), StateDict(step=-1)
    snapshot = Snapshot(str(directory / f"step_{found[0][-1]}"))
    snapshot.restore({"model": model, "progress": progress})
    state.update(model)
    return progress["step"]


def steps(directory):
    return sorted(
        int(path.parent.name.removeprefix("step_")) for path in directory.glob(f"step_*/{METADATA}")
    )


TAKE = Checkpointer(
    name="torchsnapshot",
    save=save,
    load=load,
    steps=steps,
    state=make_state,
    points=("fs.*",),
    load_points=("fs.*",),
    requires=("torchsnapshot-nightly>=2024.7.26",),
)
