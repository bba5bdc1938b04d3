"""What a process sets by a function, set for the simulated rank that calls it.

The mask of new files' permissions, the limit of recursion, the default timeout of sockets, the locale, and how torch
prints tensors.  All ranks share one table of these until one changes something; then it has a table of its own, which
is put in force when the scheduler goes to the rank, and the common one is put back at the end of the run.

Not covered: what is set in another way than by these functions, and settings of other libraries.
"""

from __future__ import annotations

import contextlib
import locale
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import torch

from faultkit.worlds.simulated.core.ranks import current_rank
from faultkit.worlds.simulated.core.rebinding import replace

__all__ = ["begin", "end", "enter", "in_force", "install"]

Table = dict[
    Any, tuple[Callable[..., Any], Any]
]  # of each setting that was changed: how to put it in force, and what

in_force: Table = {}
_common: Table = {}


def install() -> None:
    """Once, in the host."""
    replace(os, "umask", _masking)
    replace(sys, "setrecursionlimit", lambda original: _setting(original, sys.getrecursionlimit))
    replace(socket, "setdefaulttimeout", lambda original: _setting(original, socket.getdefaulttimeout))
    replace(locale, "setlocale", _localizing)
    replace(torch, "set_printoptions", _printing)


def begin() -> Table:
    """A run begins: the table that all its ranks have."""
    global _common, in_force
    in_force = _common = {}
    return in_force


def enter(table: Table) -> None:
    """The host goes to a rank with this table."""
    global in_force
    before, in_force = in_force, table
    for name in before.keys() | table.keys():
        was, (put, value) = before.get(name, _common[name])[1], table.get(name, _common[name])
        if was != value:
            # a limit below the depth of the thread that hands its turn on is refused, and stays as it is
            with contextlib.suppress(RecursionError, locale.Error):
                put(value)


def end() -> None:
    """The run is over."""
    enter(_common)


def _note(name: Any, put: Callable[..., Any], before: Any, value: Any) -> None:
    """The rank that runs has changed a setting."""
    global in_force
    rank = current_rank()
    if rank is not None:
        _common.setdefault(name, (put, before))
        rank.settings = in_force = {**rank.settings, name: (put, value)}


def _masking(original: Callable[[int], int]) -> Callable[[int], int]:
    def umask(mask: int, /) -> int:
        before = original(mask)
        _note("umask", original, before, mask)
        return before

    return umask


def _setting(original: Callable[[Any], None], read: Callable[[], Any]) -> Callable[[Any], None]:
    def put(value: Any, /) -> None:
        before = read()
        original(value)
        _note(original.__name__, original, before, read())

    return put


def _localizing(original: Callable[..., str]) -> Callable[..., str]:
    def setlocale(category: int, locale: Any = None) -> str:
        if locale is None:
            return original(category)
        before = original(category)
        now = original(category, locale)
        _note(("locale", category), lambda name: original(category, name), before, now)
        return now

    return setlocale


def _printing(original: Callable[..., None]) -> Callable[..., None]:
    options = torch._tensor_str.PRINT_OPTS

    def put(values: dict[str, Any]) -> None:
        vars(options).clear()
        vars(options).update(values)

    def set_printoptions(*args: Any, **kwargs: Any) -> None:
        before = dict(vars(options))
        original(*args, **kwargs)
        _note("printoptions", put, before, dict(vars(options)))

    return set_printoptions
