"""What `DistributedDataParallel` needs of a simulated group besides its calls.

Its reducer is C++.  It reads the network's name off gloo's own process group, which a simulated one is not, and it
waits for a future of each bucket in C++, where no other rank can go on.  So the group goes without the name of gloo
while the reducer's logger reads it, and a future that is asked for within a backward pass is given when its call is
over, or raises what that ended with.  What is lost is that the buckets of one pass overlap; what each rank comes to
is the same.

Not covered: the figures on the network in DDP's own logging.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from faultkit.worlds.simulated.core.ranks import current_rank

__all__ = ["backend_name", "install", "is_in_backward"]

_is_logging = False


def backend_name() -> str:
    """The name of a simulated group's backend."""
    return "simulated" if _is_logging else "gloo"


def is_in_backward() -> bool:
    """Whether the calling thread is within a backward pass."""
    return bool(torch._C._current_graph_task_id() != -1)


class _Logger(dist.Logger):
    def set_construction_data_and_log(self, *args: Any) -> None:
        global _is_logging
        if current_rank() is None:
            super().set_construction_data_and_log(*args)
            return
        _is_logging = True
        try:
            super().set_construction_data_and_log(*args)
        finally:
            _is_logging = False


def install() -> None:
    """Once, in the host."""
    dist.Logger = _Logger
