"""The recorder in a process of a recorded command: what `record_command` says in the environment, done at the start.

Guarantees: each process has a spool of its own, and records to its very end, what it writes while the interpreter
shuts down included.  Collectives are recorded as soon as torch's are loaded, and tell the process's rank.  Left
out: interpreters that ignore PYTHONPATH.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from faultkit.exceptions import RecordingError
from faultkit.recording import sync_events
from faultkit.recording.recorder import Recorder
from faultkit.recording.scratch import Scratch
from faultkit.recording.spool import Spool

__all__ = [
    "BLOCK_SIZE",
    "FILES",
    "HOME",
    "ROOTS",
    "SPOOLS",
    "OnRank",
    "environment",
    "start",
    "start_on_rank",
]

SPOOLS = "FAULTKIT_RECORD_SPOOLS"  # the directory of the spools
ROOTS = "FAULTKIT_RECORD_ROOTS"  # names of the recorded directory, one a line
BLOCK_SIZE = "FAULTKIT_RECORD_BLOCK_SIZE"
FILES = "FAULTKIT_RECORD_FILES"  # "0": the preloaded library records the files
HOME = "FAULTKIT_RECORD_HOME"
DISTRIBUTED = "torch.distributed.distributed_c10d"

_kept: list[Any] = []


def start() -> None:
    """Record in this process from now on, if the environment says so."""
    directory = os.environ.get(SPOOLS)
    if not directory or not os.path.isdir(directory):
        return
    block_size = os.environ.get(BLOCK_SIZE, "")
    spool = Spool(os.path.join(directory, f"python-{os.getpid()}"))
    recorder = Recorder(tuple(os.environ[ROOTS].split("\n")), spool, int(block_size) if block_size else None)
    _kept.append(recorder)  # to the end of the process, so that nothing is ever put back
    rank = os.environ.get("RANK", "")
    recorder.start(
        int(rank) if rank.isdigit() else -1, lines_only=os.environ.get(FILES) == "0", collectives=False
    )
    if DISTRIBUTED in sys.modules:
        sync_events.watch_collectives(recorder.event)
    else:
        sys.meta_path.insert(0, _Finder(recorder))


def environment(
    spools: str, roots: tuple[str, ...], block_size: int | None, library: str, path: str | None
) -> dict[str, str]:
    """What the environment must say so that new processes record; `path` is the PYTHONPATH so far."""
    here = os.path.dirname(os.path.abspath(__file__))
    return {
        SPOOLS: spools,
        ROOTS: "\n".join(roots),
        BLOCK_SIZE: str(block_size or ""),
        FILES: "0" if library else "1",
        HOME: os.path.dirname(os.path.dirname(here)),
        "PYTHONPATH": os.pathsep.join(filter(None, (os.path.join(here, "bootstrap"), path))),
    }


def start_on_rank(
    spools: str,
    roots: tuple[str, ...],
    rank: int,
    block_size: int | None,
    library: str,
    scratch: str = "",
    scratch_bytes_max: int = 0,
) -> OnRank:
    """Record in this rank, and in what it starts, until `stop`.  Raises RecordingError without the library."""
    told = environment(spools, roots, block_size, library, os.environ.get("PYTHONPATH"))
    opened = None
    if scratch and not library:  # the library writes data, to its own spool
        with contextlib.suppress(OSError):
            opened = Scratch(scratch, scratch_bytes_max)
    spool = Spool(os.path.join(spools, f"rank-{rank}"), opened)
    shim = None
    if library:
        # asked for by name: where it was not loaded at the start, this would load it, too late
        with open("/proc/self/maps") as maps:
            loaded = any(line.rstrip().endswith(library) for line in maps)
        shim = ctypes.CDLL(library) if loaded else None
        if shim is None:
            raise RecordingError(f"rank {rank} was started without the library {library}")
        names = "\n".join(roots).encode()
        shim.faultkit_start.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_long]
        if shim.faultkit_start(spools.encode(), names, rank, block_size or 0):
            raise RecordingError(f"rank {rank} cannot write to {spools}")
    recorder = Recorder(roots, spool, block_size)
    recorder.start(rank, lines_only=shim is not None)
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    return OnRank(recorder, shim, before)


class OnRank:
    """The recording of one rank while it lasts."""

    def __init__(self, recorder: Recorder, shim: Any, environment: dict[str, str | None]) -> None:
        self.event = recorder.event
        self._recorder, self._shim, self._environment = recorder, shim, environment

    def stop(self) -> None:
        if self._shim is not None:
            self._shim.faultkit_stop()
        self._recorder.stop()
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Finder:
    """Watches for the module of torch's collectives, and hooks it once it is loaded."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != DISTRIBUTED:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find is not None else None
            if spec is not None and spec.loader is not None:
                self.hook(spec.loader)
                return spec
        return None

    def hook(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            sync_events.watch_collectives(self.recorder.event)

        loader.exec_module = exec_module
