"""Runs a command as ranks: Python commands in forks of this process, others as programs.

Promises.  A Python command (``python train.py``, ``python -m package``, ``python -c code``) behaves as the program
does: ``__main__``, `sys.argv`, the first entry of `sys.path`, the exit status, what it printed; but what this
process has imported is imported already, and that is what saves seconds.  Each rank has the environment that
torchrun gives.  When a rank fails, the others get a moment and are then ended.  Left out: options of the
interpreter other than ``-u``, ``-W``, ``-X`` and ``-B`` (those commands run as programs).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

__all__ = ["environment_of_rank", "free_port", "python_work", "run_ranks"]

GRACE_SECONDS = 3.0
PR_SET_PDEATHSIG = 1
OUTPUT_BYTES_MAX = 1 << 20
STATUS_OF_AN_EXCEPTION = 1
HERE = os.path.dirname(sys.executable)  # of two environments with one interpreter only this one will do


def run_ranks(argv: Sequence[str], ranks: int, *, in_process: bool = True) -> tuple[int, str]:
    """Run `argv` as `ranks` ranks at once: the first status that is not 0, else 0, and what rank 0 printed.

    Does not return before every rank has ended, and bounds no time: the caller does.  A rank that is ended by a
    signal has the negative number of the signal as its status.
    """
    port = free_port() if ranks > 1 else 0
    outputs = [os.memfd_create(f"rank {rank}") for rank in range(ranks)]
    work = python_work(argv) if in_process else None
    pids: dict[int, int] = {}
    first_bad = 0
    try:
        for rank in range(ranks):
            pid = os.fork()
            if pid == 0:
                _be_a_rank(argv, work, environment_of_rank(rank, ranks, port), outputs[rank])
            pids[pid] = rank
        first_bad = _wait(pids)
        text = os.pread(outputs[0], OUTPUT_BYTES_MAX, 0).decode(errors="backslashreplace")
        return first_bad, text
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        for output in outputs:
            os.close(output)


def _wait(pids: dict[int, int]) -> int:
    """Wait for every rank; empties `pids`."""
    watched = {os.pidfd_open(pid): pid for pid in pids}
    poller = select.poll()
    for descriptor in watched:
        poller.register(descriptor, select.POLLIN)
    first_bad, ends_at = 0, None
    try:
        while watched:
            left = None if ends_at is None else max(0.0, ends_at - time.monotonic()) * 1000
            ready = poller.poll(left)
            if not ready:
                break  # the others wait for one that is gone: the caller ends them
            for descriptor, _ in ready:
                poller.unregister(descriptor)
                pid = watched.pop(descriptor)
                os.close(descriptor)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                del pids[pid]
                if status and ends_at is None:
                    first_bad, ends_at = status, time.monotonic() + GRACE_SECONDS
    finally:
        for descriptor in watched:
            os.close(descriptor)
    return first_bad


def environment_of_rank(rank: int, ranks: int, port: int) -> dict[str, str]:
    """What torchrun tells a rank; nothing for a single one without a launcher."""
    if ranks == 1:
        return {}
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def python_work(argv: Sequence[str]) -> tuple[str, str, list[str]] | None:
    """("path" | "module" | "code", what, its arguments) of a command of this very interpreter, else None."""
    program = shutil.which(argv[0])
    is_own = program is not None and os.path.realpath(program) == os.path.realpath(sys.executable)
    if argv[0] not in ("python", "python3") and not (is_own and os.path.dirname(program or "") == HERE):
        return None
    place = 1
    while place < len(argv) and argv[place].startswith("-"):
        option = argv[place]
        if option in ("-m", "-c") and place + 1 < len(argv):
            return {"-m": "module", "-c": "code"}[option], argv[place + 1], list(argv[place + 2 :])
        if option in ("-W", "-X"):
            place += 2
        elif option in ("-u", "-B") or option[:2] in ("-W", "-X"):
            place += 1
        else:
            return None
    if place >= len(argv):
        return None
    return "path", argv[place], list(argv[place + 1 :])


def _be_a_rank(
    argv: Sequence[str], work: tuple[str, str, list[str]] | None, environment: dict[str, str], output: int
) -> None:
    """Never returns."""
    status = 70
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)  # of the rank that this process is to the harness
        os.environ.update(environment)
        os.environ.pop("FAULTKIT_SLOTS", None)
        if work is None:
            os.execvp(sys.executable if argv[0] in ("python", "python3") else argv[0], list(argv))
        status = _run_python(*work)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        status = 127
    finally:
        os._exit(status)


def _run_python(form: str, what: str, arguments: list[str]) -> int:
    import atexit
    import gc
    import logging
    import runpy
    import threading
    import traceback
    import warnings

    atexit._clear()  # what the harness registered is not the script's
    gc.enable()
    logging.disable(logging.NOTSET)
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = open(number, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    status: Any = 0
    try:
        if form == "path":
            sys.argv = [what, *arguments]
            sys.path[0:0] = [os.path.dirname(os.path.abspath(what))]
            runpy.run_path(what, run_name="__main__")
        elif form == "module":
            sys.argv = [what, *arguments]
            sys.path[0:0] = [os.getcwd()]
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.argv = ["-c", *arguments]
            sys.path[0:0] = [""]
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        status = error.code
        if status is None:
            status = 0
        elif not isinstance(status, int):
            print(status, file=sys.stderr)
            status = STATUS_OF_AN_EXCEPTION
    except BaseException:
        traceback.print_exc()
        status = STATUS_OF_AN_EXCEPTION
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    return int(status) & 0xFF
