"""The session that is armed in this process: one at a time, found by every thread.

Guarantees: a process that is armed is not armed again before it was disarmed.  A forked child is armed only where its
session says what it inherits (`faultkit.injection.children`).  Not covered: which session a simulated rank has; what
is armed there asks for it (`faultkit.injection.session_by_rank`).
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faultkit.injection.session import Session

__all__ = ["activate", "current", "deactivate"]

_current: Session | None = None
_activating = threading.Lock()


def current() -> Session | None:
    """The session that is armed in this process, None where none is."""
    return _current


def activate(session: Session) -> None:
    """Make `session` the one of this process.  Raises RuntimeError where it has one already."""
    global _current
    with _activating:
        if _current is not None:
            raise RuntimeError(
                f"this process is armed with the plan {str(_current.plan)!r} already: "
                f"leave that block before arming {str(session.plan)!r}"
            )
        _current = session


def deactivate() -> None:
    """The process has no session any more."""
    global _current
    _current = None


def _disarm_in_child() -> None:
    global _current, _activating
    _activating = threading.Lock()
    if _current is None:
        return
    inherit = None if _current.closed else _current.inherit
    if inherit is not None:
        inherit()
    else:
        _current.closed = True
        _current = None


os.register_at_fork(after_in_child=_disarm_in_child)
