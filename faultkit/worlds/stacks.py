"""Shortens the stacks that faulthandler writes, and reads from them in which wait of its own a thread is.

The frames of faultkit itself and below say nothing to a user.  A wait is told by the function of the standard library
that the program called: `Future.result`, `Event.wait`, `Queue.get`.  Not covered: waits in C without a frame of their
own (a lock, `queue.SimpleQueue`).
"""

from __future__ import annotations

import re

from faultkit import own_frames

__all__ = ["shorten", "wait_in", "waited"]

_FRAME = re.compile(r'\s*File "([^"]*)", line \d+ in (\S+)')
_WAITS: dict[
    str, dict[tuple[str, ...], str]
] = {  # by module of the standard library, and the names of the frames that wait, innermost first
    "concurrent/futures/_base": {
        ("result",): "Future.result",
        ("exception",): "Future.exception",
        ("wait",): "concurrent.futures.wait",
        ("result_iterator",): "Executor.map",
    },
    "concurrent/futures/thread": {("shutdown",): "Executor.shutdown"},
    "queue": {("get",): "Queue.get", ("put",): "Queue.put", ("join",): "Queue.join"},
    "threading": {
        ("wait",): "Condition.wait",
        ("wait", "wait"): "Event.wait",
        ("wait", "wait_for"): "Condition.wait_for",
        ("acquire",): "Semaphore.acquire",
        ("join",): "Thread.join",
        ("_wait", "wait"): "Barrier.wait",
    },
}
_MODULE = re.compile(r"/((?:concurrent/futures/)?\w+)\.py$")


def shorten(dump: str) -> str:
    """The dump without faultkit's own frames and without what started the process; threads stay apart."""
    lines: list[str] = []
    for line in dump.splitlines():
        if line.lstrip().startswith("File ") and own_frames.ROOT in line:
            if lines and lines[-1].lstrip().startswith("File ") and "/worlds/rank.py" in line:
                # everything further out is how the rank was started
                lines.append("")
            continue
        lines.append(line)
    text: list[str] = []
    skipping = False
    for line in lines:
        if line == "":
            skipping = True
            continue
        if not line.lstrip().startswith("File "):
            skipping = False
        if not skipping:
            text.append(line)
    return "\n".join(text).strip()


def wait_in(stack: str) -> str:
    """The wait that the stack's current thread is in, such as ``"Future.result"``; empty where it is in none."""
    _, _, current = stack.rpartition("Current thread")
    names: list[str] = []
    found = ""
    for path, name in _FRAME.findall(current):
        module = _MODULE.search(path)
        if module is None or module[1] not in _WAITS or "site-packages" in path:
            break  # the program's own code
        names.append(name)
        waits = _WAITS[module[1]]
        found = waits.get(tuple(names[-2:])) or waits.get(tuple(names[-1:])) or found
    return found


def waited(stack: str, waiting: str) -> str:
    """For what a rank waits: `waiting`, and where that is another thread of it or unknown, in which wait it is."""
    if waiting and not waiting.startswith("for its thread"):
        return waiting
    wait = wait_in(stack)
    return ", ".join(part for part in (f"in {wait}" if wait else "", waiting) if part)
