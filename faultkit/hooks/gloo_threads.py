"""Gives the thread that gloo starts for a group the name by which it is known.

Who watches a rank must know that thread: it looks for messages every hundredth of a second, whatever happens, and any
other thread that does so may give back what the rank waits for.  Since torch 2.13 gloo names it.  Before, a thread has
the name of the one that starts it: so the name is lent to the thread that makes a group, for as long as that takes.

Not covered: groups that are made from C++.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Any

__all__ = ["install"]

LOOP = "gloo_tcp_loop"  # as in `faultkit.processes.procfs`
NAMED_SINCE = (2, 13)
PR_SET_NAME, PR_GET_NAME = 15, 16
NAME_BYTES_MAX = 16


def install() -> None:
    """Once per process; nothing where gloo names the thread itself, or is not there."""
    import torch
    import torch.distributed as dist

    if torch.__version__ >= NAMED_SINCE or not dist.is_gloo_available():
        return
    group: Any = dist.ProcessGroupGloo
    original = group.__init__

    @functools.wraps(original)
    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        with _called(LOOP):
            original(self, *args, **kwargs)

    group.__init__ = make


@contextlib.contextmanager
def _called(name: str) -> Iterator[None]:
    """Within, the calling thread has another name, and so have the threads that it starts and that take none."""
    prctl = ctypes.CDLL(
        None
    ).prctl  # a file of /proc that is opened would count as a call of the code under test
    own = ctypes.create_string_buffer(NAME_BYTES_MAX)
    prctl(PR_GET_NAME, own, 0, 0, 0)
    prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_NAME, own, 0, 0, 0)
