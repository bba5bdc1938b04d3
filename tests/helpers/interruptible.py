"""What a test starts answers Ctrl-C, whoever started the tests.

A background job of a shell that is not interactive ignores SIGINT, under nohup SIGHUP, and so does all that it starts.
"""

from __future__ import annotations

import signal

__all__ = ["ignoring_interrupts", "interruptible"]


def interruptible() -> None:
    """For `preexec_fn`: the process answers Ctrl-C, and what else is to end it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def ignoring_interrupts() -> None:
    """For `preexec_fn`: the process is started as a background job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
