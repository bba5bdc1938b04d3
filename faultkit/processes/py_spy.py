"""Reads the stack of a rank from outside, where it does not write its own: stopped, or its handler gone.

py-spy reads the memory of the process and neither runs anything in it nor stops it.  An extra: where py-spy
is missing or may not read, the answer is empty.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

__all__ = ["spied_stack"]

SPY_SECONDS_MAX = 10.0


def spied_stack(pid: int) -> str:
    """The Python stacks of all threads of `pid`, as faulthandler writes them; empty where unreadable."""
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    program = beside if os.access(beside, os.X_OK) else shutil.which("py-spy")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "dump", "--nonblocking", "--json", "--pid", str(pid)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SPY_SECONDS_MAX,
            check=True,
        )
        threads = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    lines = []
    for number, thread in enumerate(threads, 1):
        word = "Current thread" if number == len(threads) else "Thread"  # the oldest comes last: the main one
        lines.append(f"{word} {thread['thread_id']:#018x} (most recent call first):")
        for frame in thread["frames"]:
            name = frame["name"].rpartition(".")[2]
            lines.append(f'  File "{frame["filename"]}", line {frame["line"]} in {name}')
    return "\n".join(lines) + "\n"
