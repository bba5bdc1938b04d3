"""File operations as places where another thread may go first: what ranks do to the same files, in every order.

Guarantees: while it is installed, a thread of a rank stops before it opens, lists or asks for a file, makes, removes or
renames one, writes or reads, and the scheduler says who goes on.  What it is about to do is told in words that
`faultkit.worlds.simulated.core.independence` compares: operations on files that have nothing to do with each other
commute.  Names are told from the directory of the checkpoint on, where there is one, so that two runs in two
directories tell the same.

Not covered: what C code does to files by itself; operations outside of the directory of the checkpoint, or, where the
run has none, in places where programs and their modules lie.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from typing import Any

from faultkit import own_frames
from faultkit.interception import installing
from faultkit.interception.chain import FAULTS, Call, Proceed
from faultkit.interception.patches import Patches
from faultkit.worlds.simulated.core.independence import CHANGE, FILE, LOOK
from faultkit.worlds.simulated.core.scheduler import current_task

__all__ = ["install"]

_LOOKS = frozenset(("list", "stat", "read"))
_NO_POINTS = frozenset(("close", "fsync", "fdatasync", "fsync_directory"))  # nobody else sees those
_MAKES = os.O_CREAT | os.O_TRUNC


def install(place: str, patches: Patches) -> None:
    """Until `patches` is undone; `place` is the directory of the checkpoint, "" where there is none."""
    handler = _FilePoints(place)
    installing.install(handler)
    patches.set_up(lambda: installing.uninstall(handler))


class _FilePoints:
    """The handler of the chain, before faults."""

    level = FAULTS - 1
    reads = True
    block_size: int | None = None

    def __init__(self, place: str) -> None:
        self._place = os.path.join(place, "") if place else ""

    def wants(self, path: str) -> bool:
        if self._place:
            return path.startswith(self._place) or path == self._place[:-1]
        return not path.startswith(_ELSEWHERE)

    def __call__(self, call: Call, proceed: Proceed) -> Any:
        task = current_task()
        if task is not None and call.kind not in _NO_POINTS:
            is_look = call.kind in _LOOKS or (call.kind == "open" and not call.flags & _MAKES)
            names = [self._told(path) for path in (call.path, call.target) if path]
            operation = (FILE, LOOK if is_look else CHANGE, call.kind, *names)
            task.scheduler.pause(operation, is_look=is_look)
        return proceed(call)

    def _told(self, path: str) -> str:
        return os.path.join(os.sep, path[len(self._place) :]) if self._place else path


def _ends(path: str) -> str:
    return os.path.join(path, "")


_ELSEWHERE = tuple(
    {
        _ends(path)
        for path in (
            "/dev",
            "/etc",
            "/proc",
            "/sys",
            "/usr",
            sys.prefix,
            sys.base_prefix,
            own_frames.ROOT,
            *sysconfig.get_paths().values(),
        )
        if path and not tempfile.gettempdir().startswith(_ends(path))
    }
)
