"""`SessionByRank`: one session in the eyes of the hooks, where several ranks live in one process.

Guarantees: each rank has a session of its own, with its own counters and its own log; what a hook reads or sets is that
of the rank that asks, so an object is interposed once however many ranks there are.  Not covered: which rank it is that
asks; whoever makes the ranks knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faultkit.injection.session import Session

__all__ = ["SessionByRank"]


class SessionByRank:
    """The session that `find` gives for the calling thread; `idle`, a closed one, where it gives none."""

    def __init__(self, find: Callable[[], Session | None], idle: Session) -> None:
        object.__setattr__(self, "_of_thread", lambda: find() or idle)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of_thread(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._of_thread(), name, value)
