"""The state that a checkpointer saves where it is not told another: small, of every shape that training has.

    weight                4 x 3, the same on every rank
    rows                  5 x 2, a DTensor whose rows are spread over the ranks, so that another world reshards
    optimizer.exp_avg     2 numbers, a DTensor: in a world of three ranks the last one has none
    optimizer.step        a number in a tensor
    step, name, betas     a number, a text, a list

Guarantees: every element differs from one step to the next; the state follows from the step, the rank and the number of
ranks alone.  Not covered: every other kind of leaf (`faultkit.checkpointers.state_kinds`).  torch is imported where a
state is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["make_state", "mesh", "sharded", "with_shards"]

_meshes: dict[int, Any] = {}  # of this rank; the world's group stays as long as the rank does


def make_state(step: int, rank: int, world_size: int) -> dict[str, Any]:
    """The state of `step` on `rank` of `world_size` ranks.  Every rank must call this."""
    return with_shards(step, lambda whole: sharded(whole, rank, world_size))


def with_shards(step: int, spread: Callable[[Any], Any]) -> dict[str, Any]:
    """The state of `step`; `spread` gives what a rank has of a tensor that lies on several."""
    import torch

    def numbers(*shape: int, start: float) -> Any:
        count = torch.Size(shape).numel()
        return (torch.arange(count, dtype=torch.float32) + start + 1000.0 * step).reshape(shape)

    return {
        "weight": numbers(4, 3, start=0.5),
        "rows": spread(numbers(5, 2, start=100.0)),
        "optimizer": {
            "exp_avg": spread(numbers(2, start=200.0)),
            "step": torch.tensor(float(step)),
        },
        "step": step,
        "name": f"of step {step}",
        "betas": [0.5 + step, 0.25 + step],
    }


def sharded(whole: Any, rank: int, world_size: int) -> Any:
    """`whole`, a tensor that every rank can make, as a DTensor whose rows are spread over the ranks; itself on one."""
    if world_size == 1:  # a mesh costs a process that loads more than all else
        return whole
    from torch.distributed.tensor import DTensor, Shard

    chunk = -(-whole.shape[0] // world_size)
    local = whole[min(rank * chunk, whole.shape[0]) : (rank + 1) * chunk].clone()
    return DTensor.from_local(
        local, mesh(world_size), [Shard(0)], run_check=False, shape=whole.shape, stride=whole.stride()
    )


def mesh(world_size: int) -> Any:
    """The mesh of all ranks of the world, in one row."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    group = id(dist.group.WORLD)
    if group not in _meshes:
        _meshes.clear()
        _meshes[group] = init_device_mesh("cpu", (world_size,))
    return _meshes[group]
