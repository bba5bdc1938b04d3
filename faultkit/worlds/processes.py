"""Reads from /proc what the parent must know of a rank that does not answer: its threads, state and CPU time.

Linux only, like the fork server.  A process that is gone, or that may not be read, gives empty answers.
"""

from __future__ import annotations

import os

__all__ = ["clock_of", "is_stopped", "waits_for_ever"]

FUTEX = {"x86_64": "202", "aarch64": "98"}.get(os.uname().machine)


def _threads(pid: int) -> list[tuple[str, int]]:
    """(state letter, CPU ticks used) of every thread."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            found.append((fields[0], int(fields[11]) + int(fields[12])))
    except (OSError, IndexError, ValueError):
        return []
    return found


def clock_of(pid: int) -> tuple[object, ...]:
    """A value that changes when the process uses CPU; () while a thread of it runs or it cannot be read."""
    threads = _threads(pid)
    if any(state in "RD" for state, _ in threads):
        return ()
    return (len(threads), sum(ticks for _, ticks in threads))


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped (SIGSTOP)."""
    threads = _threads(pid)
    return bool(threads) and all(state in "Tt" for state, _ in threads)


def waits_for_ever(pid: int) -> bool:
    """Whether the main thread waits for a lock without a timeout; True where that cannot be read.

    In its own code it would run, or wait for a time or a file.
    """
    try:
        with open(f"/proc/{pid}/syscall") as file:
            number, *arguments = file.read().split()
    except (OSError, ValueError):
        return True
    if FUTEX is None or len(arguments) < 4:
        return FUTEX is None
    return number == FUTEX and int(arguments[3], 16) == 0  # the fourth argument is the timeout
