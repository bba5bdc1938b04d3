"""Each simulated rank has its own working directory, also one that has been removed or renamed since.

The host is in one directory at a time.  A rank that goes elsewhere keeps a descriptor of where it is, and the host
goes there when it goes to the rank, and not where both are in the same.  In a directory that is gone the rank is
nowhere, as in a process of its own, and not where the rank before it was.

Not covered: more ranks in directories of their own than the host may have descriptors; the others go by the path.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from faultkit.worlds.simulated.core.ranks import current_rank
from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.process import resource_owners

__all__ = ["Place", "begin", "current", "end", "enter", "install"]

_chdir, _close, _open = os.chdir, os.close, os.open


class Place:
    """A directory; `where` is its descriptor, or its path where there was none to be had."""

    __slots__ = ("where",)

    def __init__(self) -> None:
        """That in which the host is."""
        self.where: int | str
        try:
            self.where = _open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            resource_owners.disown(self.where)
        except OSError:
            self.where = os.getcwd()

    def close(self) -> None:
        if isinstance(self.where, int):
            _close(self.where)


current: Place | None = None
_common: Place | None = None  # that of all ranks that have gone nowhere
_others: list[Place] = []


def install() -> None:
    """Once, in the host."""
    for name in ("chdir", "fchdir"):
        replace(os, name, _changing)


def begin(directory: str) -> Place:
    """A run begins in `directory`, or where the host is if there is none."""
    global _common, current
    try:
        _chdir(directory)
    except OSError:
        pass
    _common = current = Place()
    return current


def enter(place: Place) -> None:
    """The host goes to `place`."""
    global current
    try:
        _chdir(place.where)
    except OSError:
        pass  # known by its path only, and removed
    current = place


def end() -> None:
    """The run is over, and the host nowhere in particular."""
    global _common, current
    _chdir("/")
    for place in (*_others, *((_common,) if _common is not None else ())):
        place.close()
    _others.clear()
    _common = current = None


def _changing(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def change(path: Any) -> None:
        global current
        original(path)
        rank = current_rank()
        if rank is not None:
            if rank.place in _others:
                _others.remove(rank.place)
                rank.place.close()
            rank.place = current = Place()
            _others.append(current)

    return change
