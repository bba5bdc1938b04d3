"""Kind ``spawn``: a new interpreter for every rank of every run.

Guarantees: a rank shares no memory with any other process, not even what a fork would have copied.  Not covered: its
price, which is that of importing torch on each rank.
"""

from __future__ import annotations

from typing import ClassVar

from faultkit.worlds.kinds.process_kind import ProcessKind

__all__ = ["Spawn"]


class Spawn(ProcessKind):
    """Started for each run, from nothing."""

    name: ClassVar[str] = "spawn"
    afresh: ClassVar[str] = "spawn"
    launch = ProcessKind.launch._replace(spawned=True)
    is_preloaded: ClassVar[bool] = False
