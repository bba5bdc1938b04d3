"""The save that is measured unless another is named: each rank has one tensor of its own.

So every rank writes a file of its own, whatever the size of the world, and what the engine collects grows with
it.  Besides, all ranks share a replicated tensor and a number, as in any state.  torch is imported on the ranks.
"""

from __future__ import annotations

from pathlib import Path

from faultkit.scenarios.scenario import Scenario

__all__ = ["SAVE", "save"]

ELEMENTS = 64


def save(directory: Path, elements: int = ELEMENTS) -> None:
    """Save the state to `directory`.  Raises what the engine raises."""
    import torch
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    rank = dist.get_rank()
    state = {
        f"of rank {rank}": torch.full((elements,), float(rank)),
        "shared": torch.ones(elements),
        "step": 17,
    }
    dcp.save(state, checkpoint_id=directory)


SAVE = Scenario(
    name="faultkit.scale.work:SAVE",
    summary="a save in which each rank writes one tensor of its own",
    function=save,
    options=(("elements", ELEMENTS),),
    points=("writer.*",),
    preload=("torch.distributed.checkpoint",),
    reads_back=False,
)
