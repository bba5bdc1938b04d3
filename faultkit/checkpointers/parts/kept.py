"""What a job makes once and keeps from one save to the next, such as a process group or a stager.

Guarantees: `kept` makes a thing once for each job, which is a default process group: ranks that share this module, as
simulated ones do, each have their own.  It goes with the group.  Not covered: ending it, which who made it does.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["kept"]

_of_jobs: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()
_of_no_group: dict[str, Any] = {}


def kept(name: str, make: Callable[[], Any]) -> Any:
    """What `make` gave when it was first asked for `name` by this rank in this job."""
    import torch.distributed as dist

    things = _of_no_group
    if dist.is_initialized():
        things = _of_jobs.setdefault(dist.group.WORLD, {})
    if name not in things:
        things[name] = make()
    return things[name]
