"""How the fork server starts a process: by the name of a function, so that it imports nothing of what it launches."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Launch", "named"]


class Launch(NamedTuple):
    """How a process is started: its main function as ``module:function``, called with its descriptors and the pid of
    the server; in a new interpreter where `spawned`, else forked once the function `prepare` has been called."""

    entry: str
    spawned: bool = False
    prepare: str = ""


def named(entry: str) -> Callable[..., Any]:
    """What ``module:function`` names."""
    module, _, name = entry.partition(":")
    return getattr(importlib.import_module(module), name)
