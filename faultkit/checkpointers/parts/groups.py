"""The process group in which a checkpoint is saved: the job's own, another for checkpoints alone, or half of the ranks.

    default                  the group of the job
    own                      a gloo group of all ranks that the job makes once, and keeps for its checkpoints
    each                     one for each save, which ends with it
    first-half, last-half    half of the ranks, who hold all there is; the others hold as much, and do not save

Guarantees: every rank calls `of`, since making a group takes all of them.  A mistake is one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faultkit.checkpointers.parts.choices import refusal
from faultkit.checkpointers.parts.kept import kept
from faultkit.messages import seen

__all__ = ["HALVES", "check", "end", "members", "of", "saves"]

HALVES = ("first-half", "last-half")


def check(group: str, choices: Sequence[str], world_size: int) -> str:
    """What is wrong with the option on a world of so many ranks."""
    wrong = refusal("group", group, choices)
    if not wrong and group in HALVES and world_size % 2:
        return f"group={group} needs an even number of ranks (got {seen(world_size)})"
    return wrong


def members(group: str, rank: int, world_size: int) -> tuple[int, ...]:
    """The ranks with whom `rank` holds one state: all, or those of its half."""
    if group not in HALVES:
        return tuple(range(world_size))
    half = world_size // 2
    return tuple(range(half) if rank < half else range(half, world_size))


def saves(group: str, rank: int, world_size: int) -> bool:
    """Whether `rank` takes part in a save."""
    return group not in HALVES or (rank < world_size // 2) == (group == "first-half")


def of(group: str) -> Any:
    """The group that this rank saves and loads in; None for that of the job, and where there is none."""
    import torch.distributed as dist

    if group == "default" or not dist.is_initialized():
        return None
    if group == "each":
        return dist.new_group(backend="gloo")
    if group == "own":
        return kept("group of checkpoints", lambda: dist.new_group(backend="gloo"))
    return kept("group of its half", _halves)


def end(group: str, made: Any) -> None:
    """End what `of` gave, where it is of one save only."""
    if group == "each" and made is not None:
        import torch.distributed as dist

        dist.destroy_process_group(made)


def _halves() -> Any:
    import torch.distributed as dist

    size = dist.get_world_size()
    both = [
        dist.new_group([*members(half, first, size)], backend="gloo")
        for half, first in zip(HALVES, (0, size // 2), strict=True)
    ]
    return both[dist.get_rank() >= size // 2]
