"""Kind ``warm``: ranks and their process group serve run after run while they are healthy.

Guarantees: each run begins in the same state (`faultkit.worlds.rank`), whatever the run before did.  Not covered: what
the function itself keeps in its modules from run to run.
"""

from __future__ import annotations

from typing import ClassVar

from faultkit.worlds.kinds.process_kind import ProcessKind

__all__ = ["Warm"]


class Warm(ProcessKind):
    """Forked once, for many runs."""

    name: ClassVar[str] = "warm"
    afresh: ClassVar[str] = "fresh"
    keeps_ranks: ClassVar[bool] = True
