"""What makes a process that the fork server started into a rank, or into the host of simulated ranks.

Guarantees: the process dies with the server.  It reads nothing, and what it prints, also from C, goes to the file that
the parent reads, line by line; the stacks of its threads are written when the parent asks.  Its environment is that of
the caller, with what says which rank it is.  Not covered: what a run sets and puts back (`faultkit.worlds.rank`).
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import multiprocessing.process
import os
import signal
import sys
from typing import Any, TextIO

import msgspec

from faultkit.processes.procfs import STACK_SIGNAL

__all__ = [
    "LIBRARY_DEFAULTS",
    "RankSpec",
    "keep_temporaries",
    "open_streams",
    "set_environment",
    "set_up_process",
]

PR_SET_PDEATHSIG = 1
LINE_BUFFERED = 1  # _IOLBF of stdio.h
LIBRARY_DEFAULTS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "GLOO_SOCKET_IFNAME": "lo",
}


class RankSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a rank is told once, when it starts."""

    rank: int
    size: int
    backend: str
    environment: dict[str, str]
    directory: str
    path: list[str]
    modules: dict[str, tuple[str, bool]]
    group_timeout_seconds: float | None = None
    gpus: tuple[str, ...] = ()
    temporary: str  # where its `multiprocessing` keeps sockets; removed with the world, however the rank ends


def set_up_process(output_fd: int, stack_fd: int, server_pid: int) -> None:
    """Once, first thing in the process: `output_fd` is for what it prints, `stack_fd` for the stacks of its threads."""
    _die_with(server_pid)
    os.setpgid(0, 0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.close(output_fd)
    _write_c_output_by_line()
    open_streams()
    faulthandler.enable(file=stack_fd, all_threads=True)
    faulthandler.register(STACK_SIGNAL, file=stack_fd, all_threads=True, chain=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def keep_temporaries(spec: RankSpec) -> None:
    """Have `multiprocessing` use the directory of the world, once it needs one: its own would outlive a killed rank."""
    multiprocessing.process.current_process()._config = _Config(spec.temporary)  # type: ignore[attr-defined]


class _Config(dict[str, Any]):
    """What `multiprocessing` keeps for this process, with a directory that is made when it is asked for."""

    def __init__(self, temporary: str) -> None:
        super().__init__(multiprocessing.process.current_process()._config)  # type: ignore[attr-defined]
        self._temporary = temporary

    def get(self, key: str, default: Any = None) -> Any:
        if key == "tempdir" and key not in self:
            with contextlib.suppress(OSError):
                os.makedirs(self._temporary, mode=0o700, exist_ok=True)
                self[key] = self._temporary
        return super().get(key, default)


_environment_set: tuple[dict[str, str], dict[bytes, bytes]] | None = None  # as asked for, as it then was


def set_environment(environment: dict[str, str], spec: RankSpec) -> None:
    """Make `environment` this process's, with what says which rank it is."""
    global _environment_set
    now: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    if _environment_set == (environment, now):
        return
    wanted = {
        **LIBRARY_DEFAULTS,
        **environment,
        "RANK": str(spec.rank),
        "LOCAL_RANK": str(spec.rank),
        "WORLD_SIZE": str(spec.size),
        "LOCAL_WORLD_SIZE": str(spec.size),
        "FAULTKIT_SLOTS": "0",  # a world within a world must not wait for the slots of its own ranks
    }
    if spec.gpus:
        wanted["CUDA_VISIBLE_DEVICES"] = ",".join(spec.gpus)
    if dict(os.environ) != wanted:
        for key in set(os.environ) - set(wanted):
            del os.environ[key]
        os.environ.update(wanted)
    _environment_set = (environment, dict(now))


def open_streams() -> None:
    """New `sys.stdout` and `sys.stderr`, whatever became of the last."""
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _stream(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def _write_c_output_by_line() -> None:
    """What C code prints stands beside what Python prints, and is there when the process dies."""
    with contextlib.suppress(AttributeError, ValueError):
        library = ctypes.CDLL(None)
        library.setvbuf(ctypes.c_void_p.in_dll(library, "stdout"), None, LINE_BUFFERED, ctypes.c_size_t(0))


def _die_with(server_pid: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != server_pid:
        os._exit(0)
