"""Notes which simulated rank opened a descriptor or started a process: all ranks share one table of each.

Not covered: what C code opens by itself, which is nobody's, and descriptors that one rank hands to another.
"""

from __future__ import annotations

import builtins
import functools
import io
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.core.scheduler import get_ident, tasks_by_ident

__all__ = ["children", "descriptors", "disown", "forget", "install"]

_descriptors: dict[int, int] = {}  # number -> rank that opened it last
_children: dict[int, int] = {}  # process -> rank that started it

OPENING = ("open", "dup", "dup2", "pipe", "pipe2", "memfd_create", "eventfd", "openpty", "pidfd_open")
STARTING = ("fork", "forkpty", "posix_spawn", "posix_spawnp")


def install() -> None:
    """Once, in the host."""
    import _posixsubprocess

    for name in OPENING:
        if hasattr(os, name):
            setattr(os, name, _noting(getattr(os, name), _descriptors, _numbers))
    builtins.open = io.open = _noting(io.open, _descriptors, _number_of)
    socket.socket.__init__ = _noting_self(socket.socket.__init__)  # type: ignore[method-assign]
    for name in STARTING:
        replace(os, name, functools.partial(_noting, table=_children, numbers_of=_numbers))
    replace(_posixsubprocess, "fork_exec", functools.partial(_noting, table=_children, numbers_of=_numbers))
    if hasattr(subprocess, "_fork_exec"):
        subprocess._fork_exec = _posixsubprocess.fork_exec


def descriptors(rank: int) -> frozenset[int]:
    """The numbers of the descriptors that `rank` has opened; closed ones too."""
    return frozenset(number for number, opener in _descriptors.items() if opener == rank)


def children(rank: int) -> frozenset[int]:
    """The processes that `rank` has started; those that are gone, too."""
    return frozenset(pid for pid, parent in _children.items() if parent == rank)


def disown(descriptor: int) -> None:
    """It is the host's own, whoever had one of this number before."""
    _descriptors.pop(descriptor, None)


def forget() -> None:
    """A run is over."""
    _descriptors.clear()
    _children.clear()


def _noting(original: Any, table: dict[int, int], numbers_of: Callable[[Any], Iterator[int]]) -> Any:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        task = tasks_by_ident.get(get_ident())
        if task is not None:
            for number in numbers_of(result):
                table[number] = task.rank.number
        return result

    return call


def _noting_self(original: Any) -> Any:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        task = tasks_by_ident.get(get_ident())
        if task is not None:
            _descriptors[self.fileno()] = task.rank.number

    return call


def _numbers(result: Any) -> Iterator[int]:
    """Those in the result of a call: one, or several; the process comes first where a terminal comes with it."""
    yield from (result,) if isinstance(result, int) else result[:1] if len(result) > 2 else result


def _number_of(file: Any) -> Iterator[int]:
    try:
        yield file.fileno()
    except (OSError, AttributeError, ValueError):
        return
