"""Errors by which a rank only learns that something is wrong elsewhere: of gloo, NCCL, the store, a launcher.

Not covered: errors of a checkpoint itself, which name the ranks that failed.
"""

from __future__ import annotations

from faultkit.evidence.values import Error

__all__ = ["is_consequence", "is_timeout"]

_TIMEOUTS = (
    "Timed out waiting",
    "Wait timeout",
    "wait timeout",
    "Watchdog caught collective operation timeout",
    "Socket Timeout",
    "timed out after",
)
_LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Read error [",
    "Write error [",
    "remote process exited or there was a network error",
    "NCCL communicator was aborted",
    "Connection was likely closed",
    "Application timeout caused pair closure",
)


def is_timeout(error: Error) -> bool:
    """Whether it says that something did not come in time."""
    return any(text in error.message for text in _TIMEOUTS)


def is_consequence(error: Error) -> bool:
    """Whether it says nothing but that another rank did not answer."""
    return is_timeout(error) or any(text in error.message for text in _LOST)
