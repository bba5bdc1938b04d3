"""How a checkpointer of files writes one, and what its ranks do when a write fails: the ways that people have.

    in_place    over what is there, at once
    rename      to a temporary name, then one rename; nothing is synced
    durable     the same, with the file synced before the rename, and the directory after it

Guarantees: `replacing` leaves under the name what was there, or all that was written, where the way is not ``in_place``
and only processes end; where it is ``durable``, also after a power cut.  A temporary file that an error leaves is
written over by the next save.  Not covered: several files that belong together.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from faultkit.checkpointers.parts.durable_files import sync
from faultkit.checkpointers.parts.joint_steps import on_every_rank
from faultkit.messages import listed, seen

__all__ = ["RANKS", "WAYS", "in_step", "made", "replacing", "wrong_options"]

WAYS = ("in_place", "rename", "durable")
RANKS = ("first", "every")


@contextlib.contextmanager
def replacing(path: Path, write: str) -> Iterator[Path]:
    """Gives the name under which to write what `path` is to hold."""
    if write == "in_place":
        yield path
        return
    temporary = path.with_name(f"{path.name}.tmp")
    yield temporary
    if write == "durable":
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    os.replace(temporary, path)
    if write == "durable":
        sync(path.parent)


def made(directory: Path, write: str) -> None:
    """Make `directory`, which may be there."""
    directory.mkdir(exist_ok=True)
    if write == "durable":
        sync(directory.parent)


def in_step(what: str, function: Callable[[], None], is_mine: bool, exchange: bool) -> None:
    """`function` on the ranks where `is_mine`, and nobody goes on before it is done.

    With `exchange` every rank raises where it raised on any; else that rank leaves the others in a barrier.
    """
    import torch.distributed as dist

    if exchange:
        on_every_rank(what, function if is_mine else lambda: None)
        return
    if is_mine:
        function()
    if dist.is_initialized():
        dist.barrier()


def wrong_options(write: str, ranks: str) -> str:
    """What is wrong with the options, or nothing."""
    for name, value, known in (("write", write, WAYS), ("ranks", ranks, RANKS)):
        if value not in known:
            return f"{name} must be one of {listed(known)} (got {seen(value)})"
    return ""
