"""megatron-core's dist_checkpointing, format torch_dist: rows of a weight on each rank, written by forked processes.

    faultkit sweep examples.megatron.dist:DIST.save --world 2
    faultkit crash examples.megatron.dist:DIST.overwrite

Its code asks for a GPU in three places, in which something stands in.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

torch.cuda.current_device = lambda: "cpu"
torch.cuda.synchronize = lambda *_: None
torch.cuda.empty_cache = lambda: None

from megatron.core import dist_checkpointing  # noqa: E402
from megatron.core.dist_checkpointing import ShardedTensor  # noqa: E402

from faultkit import Checkpointer  # noqa: E402

ROWS = 12  # by 1, 2, 3 and 4 ranks


def make_state(step, rank, world_size):
    rows = (torch.arange(4.0 * ROWS).view(ROWS, 4) + 100 * step).chunk(world_size)[rank]
    weight = DTensor.from_local(rows, init_device_mesh("cpu", (world_size,)), [Shard(0)])
    return {"weight": weight, "bias": torch.arange(4.0) - 100 * step, "samples": 1024 * step}


def sharded(state, step):
    rank, world_size = dist.get_rank(), dist.get_world_size()
    rows = state["weight"].to_local()
    return {
        "weight": ShardedTensor.from_rank_offsets("weight", rows, (0, rank, world_size)),
        "bias": ShardedTensor.from_rank_offsets("bias", state["bias"], replica_id=rank),
        "samples": state["samples"],  # what is no ShardedTensor goes to common.pt, by rank 0
        "step": step,
    }


def save(state, directory, step):
    place = directory / f"iter_{step:07}"
    if dist.get_rank() == 0:
        place.mkdir(exist_ok=True)
    dist.barrier()
    dist_checkpointing.save(sharded(state, step), str(place))


def load(state, directory):
    found = [steps(directory) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(found)
    if not found[0]:
        return None
    place = directory / f"iter_{found[0][-1]:07}"
    loaded = dist_checkpointing.load(sharded(state, -1), str(place))
    state["weight"].to_local().copy_(loaded["weight"])
    state["bias"].copy_(loaded["bias"])
    state["samples"] = loaded["samples"]
    return loaded["step"]


def steps(directory):
    places = sorted(directory.glob("iter_*"))
    return [
        int(place.name[5:])
        for place in places
        if dist_checkpointing.check_is_distributed_checkpoint(str(place))
    ]


DIST = Checkpointer(
    name="megatron-dist",
    save=save,
    load=load,
    steps=steps,
    state=make_state,
    points=("fs.*", 'fs.open("metadata.json")', "fs.*(child)"),
    load_points=("fs.*",),
    requires=("megatron-core>=0.16",),
)
