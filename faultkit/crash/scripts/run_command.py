"""Runs a command as ranks: Python commands in forks of this process, others as programs.

Guarantees: a Python command (``python train.py``, ``python -m package``, ``python -c code``) behaves as the program
does: ``__main__``, `sys.argv`, the first entry of `sys.path`, the exit status, what it printed; but what this
process has imported is imported already, and that is what saves seconds.  Each rank has the environment that
torchrun gives.  When a rank fails, the others get a moment and are then ended.  Not covered: options of the
interpreter other than ``-u``, ``-W``, ``-X`` and ``-B`` (those commands run as programs).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import re
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from faultkit.crash.loading.patience import LOOK_SECONDS_MAX, Patience

__all__ = ["FileQuestions", "environment_of_rank", "free_port", "imports_of", "python_work", "run_ranks"]

GRACE_SECONDS = 3.0
PR_SET_PDEATHSIG = 1
OUTPUT_BYTES_MAX = 1 << 20
STATUS_OF_AN_EXCEPTION = 1
HERE = os.path.dirname(sys.executable)  # of two environments with one interpreter only this one will do


class FileQuestions(msgspec.Struct):
    """What a command asks of the files under `root`, see `faultkit.crash.loading.trace`; `own` are names that it made.

    None where it was not followed to its end, or could not be.
    """

    root: str
    questions: list[tuple[Any, ...]] | None = None
    own: frozenset[str] = frozenset()


class Limit(msgspec.Struct, frozen=True):
    """Until when a command may run: as long as `patience` has it, or until the other end of a descriptor is gone."""

    patience: Patience
    client: int


def run_ranks(
    argv: Sequence[str],
    ranks: int,
    *,
    in_process: bool = True,
    asked: FileQuestions | None = None,
    limit: Limit | None = None,
    told: list[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run `argv` as `ranks` ranks at once: the first status that is not 0, else 0, and what was printed.

    `told` is filled with what each rank printed.  `environment` is added to that of this process.

    That is the output of rank 0, or, where one fails, of the one that failed first, line by line after its name: what
    the others say follows from that.

    Does not return before every rank has ended.  A rank that is ended by a signal has the negative number of the
    signal as its status.  `asked` is filled where a single rank runs Python in a fork of this process.  With
    `limit`, each rank has a process group of its own, which is ended with it, and TimeoutError is raised where the
    limit is reached; without, the caller bounds the time.
    """
    port = free_port() if ranks > 1 else 0
    outputs = [os.memfd_create(f"rank {rank}") for rank in range(ranks)]
    work = python_work(argv) if in_process else None
    notes = os.memfd_create("asked") if asked is not None and ranks == 1 and work is not None else -1
    trace = (asked.root, notes) if asked is not None and notes >= 0 else None
    pids: dict[int, int] = {}
    groups: list[int] = []
    try:
        for rank in range(ranks):
            pid = os.fork()
            if pid == 0:
                given = {**(environment or {}), **environment_of_rank(rank, ranks, port)}
                _be_a_rank(argv, work, given, outputs[rank], trace, limit)
            pids[pid] = rank
        groups = list(pids) if limit is not None else []
        first_bad, teller = _wait(pids, limit)
        texts = [
            os.pread(output, OUTPUT_BYTES_MAX, 0).decode(errors="backslashreplace") for output in outputs
        ]
        text = texts[teller]
        if told is not None:
            told[:] = texts
        if first_bad and ranks > 1:
            text = "".join(f"[rank {teller}] {line}" for line in text.splitlines(keepends=True))
        if asked is not None and notes >= 0:
            seen = os.pread(notes, os.fstat(notes).st_size, 0)
            if seen:
                asked.questions, asked.own = pickle.loads(seen)
        return first_bad, text
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        for output in (*outputs, *([notes] if notes >= 0 else [])):
            os.close(output)


def _wait(pids: dict[int, int], limit: Limit | None) -> tuple[int, int]:
    """Wait for every rank: the first status that is not 0, else 0, and its rank; empties `pids`.

    Raises TimeoutError at the limit.
    """
    watched = {os.pidfd_open(pid): pid for pid in pids}
    poller = select.poll()
    for descriptor in watched:
        poller.register(descriptor, select.POLLIN)
    if limit is not None:
        poller.register(limit.client, 0)  # says only when the other end is gone
    first_bad, rank_of_first, ends_at = 0, 0, None
    try:
        while watched:
            times = [ends_at - time.monotonic()] if ends_at is not None else []
            if limit is not None:
                times.append(min(LOOK_SECONDS_MAX, limit.patience.left()))
            ready = poller.poll(max(0.0, min(times)) * 1000 if times else None)
            if limit is not None and (limit.client in dict(ready) or limit.patience.left() <= 0):
                raise TimeoutError
            if not ready:
                if ends_at is None or time.monotonic() < ends_at:
                    continue
                break  # the others wait for one that is gone: the caller ends them
            for descriptor, _ in ready:
                poller.unregister(descriptor)
                pid = watched.pop(descriptor)
                os.close(descriptor)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                rank = pids.pop(pid)
                if status and ends_at is None:
                    first_bad, rank_of_first, ends_at = status, rank, time.monotonic() + GRACE_SECONDS
    finally:
        for descriptor in watched:
            os.close(descriptor)
    return first_bad, rank_of_first


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


def imports_of(argv: Sequence[str]) -> set[str] | None:
    """The top-level modules that a Python command names in its text; None where that cannot be told."""
    work = python_work(argv)
    if work is None or work[0] == "module":
        return None
    form, what, _ = work
    try:
        text = Path(what).read_text(errors="replace") if form == "path" else what
    except OSError:
        return None
    lines = re.findall(r"^[ \t]*(?:import[ \t]+([\w., \t]+)|from[ \t]+(\w+))", text, re.MULTILINE)
    names = (name for several, one in lines for name in (one or several).split(","))
    return {name.split(".")[0].split()[0] for name in names if name.strip()}


def _be_a_rank(
    argv: Sequence[str],
    work: tuple[str, str, list[str]] | None,
    environment: dict[str, str],
    output: int,
    trace: tuple[str, int] | None,
    limit: Limit | None,
) -> None:
    """Never returns."""
    status = 70
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if limit is not None:
            os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)  # of the rank that this process is to the harness
        os.environ.update(environment)
        os.environ.pop("FAULTKIT_SLOTS", None)
        if work is None:
            os.execvp(sys.executable if argv[0] in ("python", "python3") else argv[0], list(argv))
        status = _run_python(*work) if trace is None else _run_traced(work, *trace)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        status = 127
    finally:
        os._exit(status)


def _run_traced(work: tuple[str, str, list[str]], root: str, notes: int) -> int:
    from faultkit.crash.loading import read_tracer

    trace = read_tracer.install(root)
    status = _run_python(*work)
    told = memoryview(pickle.dumps((trace.finish(), trace.owned)))
    while told:
        told = told[os.write(notes, told) :]
    return status


def _run_python(form: str, what: str, arguments: list[str]) -> int:
    import atexit
    import gc
    import logging
    import runpy
    import tempfile
    import threading
    import traceback
    import warnings

    atexit._clear()  # what the harness registered is not the script's
    tempfile.tempdir = None  # what the harness found before it was told of another TMPDIR
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
