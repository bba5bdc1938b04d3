"""``python -m faultkit.scripts.worker``: resumes a script from the states that come on standard input.

Each resumption is a fork with a directory and a process group of its own, which is ended at its deadline.  Ends, with
all it started and all it wrote, when standard input does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import select
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from faultkit.crash.materialise import write_tree
from faultkit.scenarios.stage import _place
from faultkit.scripts.judging import receive, send

__all__ = ["main"]

PR_SET_PDEATHSIG = 1
PART_BYTES = 1 << 20


def main() -> None:
    """Answer each state until there are no more."""
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    load, name, timeout_seconds = receive(incoming)
    place = Path(tempfile.mkdtemp(prefix="faultkit-script-", dir=_place()))
    try:
        number = 0
        while True:
            try:
                tree = receive(incoming)
            except EOFError:
                return
            number += 1
            root = place / str(number)
            write_tree(tree, root)
            try:
                send(outgoing, _resumed(load, root / name, timeout_seconds, incoming.fileno()))
            except BrokenPipeError:
                return
            finally:
                shutil.rmtree(root, ignore_errors=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _resumed(load: Any, directory: Path, timeout_seconds: float, incoming: int) -> tuple[Any, ...]:
    """(verdict, type of the error, its message, detail, values)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.close(incoming)
        _resume(load, directory, writer)
    os.close(writer)
    received = bytearray()
    deadline = time.monotonic() + timeout_seconds
    poller = select.poll()
    poller.register(reader, select.POLLIN | select.POLLHUP)
    poller.register(incoming, 0)  # says only when the other end is gone
    hung = False
    try:
        while True:
            left = deadline - time.monotonic()
            ready = dict(poller.poll(left * 1000)) if left > 0 else {}
            if left <= 0 or incoming in ready:
                hung = True
                break
            if ready:
                part = os.read(reader, PART_BYTES)
                if not part:
                    break
                received += part
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it may not have made its group yet
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if hung:
        return "HUNG", "", "", f"no result within {timeout_seconds:g} s", None
    try:
        return tuple(pickle.loads(received))
    except (EOFError, pickle.UnpicklingError):
        code = os.waitstatus_to_exitcode(status)
        return "DIED", "", "", f"the process that resumes ended with status {code}", None


def _resume(load: Any, directory: Path, writer: int) -> None:
    """Never returns."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setpgid(0, 0)
        try:
            answer: tuple[Any, ...] = ("VALUES", "", "", "", load(directory))
        except Exception as error:
            message = str(error).replace(f"{directory}/", "").replace(str(directory), ".")
            answer = ("ERROR", type(error).__name__, message, "", None)
        with os.fdopen(writer, "wb") as stream:
            stream.write(pickle.dumps(answer))
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
