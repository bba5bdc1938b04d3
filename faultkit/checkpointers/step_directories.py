"""A directory for each step, ``step-7``, and rank 0 decides for all: how the built-in checkpointers lay steps out.

Guarantees: `newest` and `on_rank_0` give the same on every rank, and raise on every rank where rank 0 raises.
Not covered: which step is complete, which each engine says in a way of its own (`is_complete`).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["newest", "on_rank_0", "place", "prune", "steps"]

_STEP = re.compile(r"step-([0-9]+)")


def place(directory: Path, step: int) -> Path:
    """Where `step` lies."""
    return directory / f"step-{step}"


def steps(directory: Path, is_complete: Callable[[Path], bool]) -> list[int]:
    """The complete steps in `directory`, newest last."""
    found = ((_STEP.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted(int(match[1]) for match, path in found if match and is_complete(path))


def newest(directory: Path, is_complete: Callable[[Path], bool]) -> int | None:
    """The newest complete step, as rank 0 sees it, on every rank; None where there is none."""
    return on_rank_0(lambda: max(steps(directory, is_complete), default=None))


def prune(directory: Path, keep: int, is_complete: Callable[[Path], bool]) -> None:
    """Remove all complete steps but the `keep` newest.  Every rank calls this; rank 0 removes."""

    def remove() -> None:
        for step in steps(directory, is_complete)[:-keep]:
            shutil.rmtree(place(directory, step))

    on_rank_0(remove)


def on_rank_0(function: Callable[[], Any]) -> Any:
    """What `function` gives on rank 0, on every rank.  Raises RuntimeError on every rank where it raises there."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return function()
    told: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            told[0] = function()
        except Exception as error:
            told[1] = f"{type(error).__name__}: {error}"
    dist.broadcast_object_list(told)
    if told[1] is not None:
        raise RuntimeError(f"rank 0 failed: {told[1]}")
    return told[0]
