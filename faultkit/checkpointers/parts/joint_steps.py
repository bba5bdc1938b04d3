"""A step that every rank takes together: what it gave on each rank, or one error for all that names who failed.

    results = on_every_rank("write", write)            # of every rank, in their order
    number = on_rank_0("begin", begin)                 # of rank 0

Guarantees: where the function raises on any rank, whatever it is, every rank raises one CheckpointException with the
ranks that failed and their errors, and no rank goes on.  An error that cannot be pickled travels as a RuntimeError
with its type and text.  Not covered: a rank that does not come back, for which the others wait as long as their
process group does, and a collective that fails itself.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any

__all__ = ["on_every_rank", "on_rank_0"]


def on_every_rank(what: str, function: Callable[[], Any]) -> list[Any]:
    """What `function` gave on each rank.  Raises CheckpointException on every rank where it raised on any."""
    import torch.distributed as dist
    from torch.distributed.checkpoint.api import CheckpointException

    value, error = None, None
    try:
        value = function()
    except BaseException as raised:
        error = _portable(raised)
    told: list[Any] = [(value, error)]
    if dist.is_initialized():
        told = [None] * dist.get_world_size()
        dist.all_gather_object(told, (value, error))
    failures = {
        rank: (error, traceback.StackSummary()) for rank, (_, error) in enumerate(told) if error is not None
    }
    if failures:
        raise CheckpointException(what, failures)
    return [value for value, _ in told]


def on_rank_0(what: str, function: Callable[[], Any]) -> Any:
    """What `function` gave on rank 0, on every rank.  Raises as `on_every_rank`."""
    import torch.distributed as dist

    is_first = not dist.is_initialized() or dist.get_rank() == 0
    return on_every_rank(what, function if is_first else lambda: None)[0]


def _portable(error: BaseException) -> BaseException:
    """`error`, as it can travel to another process."""
    error.__traceback__ = None  # no frame of it, nor what these hold, stays
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
