"""Kind ``fresh``: every run has ranks of its own, forked from a server that has imported torch.

Guarantees: no run finds anything in its processes that another one left.  Not covered: what is on disk, and what the
server has imported.
"""

from __future__ import annotations

from typing import ClassVar

from faultkit.worlds.kinds.process_kind import ProcessKind

__all__ = ["Fresh"]


class Fresh(ProcessKind):
    """Forked for each run."""

    name: ClassVar[str] = "fresh"
    afresh: ClassVar[str] = "fresh"
