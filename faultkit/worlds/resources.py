"""How much a rank has at one moment: descriptors, threads, child processes, shared memory, files, memory.

    meter = resources.of_this_rank()
    meter.counts()      # {"descriptors": 14, "threads": 4, ...}, the measures of `faultkit.checks.growth`
    meter.names()       # what stands behind some of the counts, in words

Guarantees: a count opens nothing that stays and keeps nothing.  Of a process all that it has is counted, also what
libraries opened by themselves; simulated ranks give a meter of their own (`install`).  *Memory* is what malloc has
given out and not got back, in all its arenas, tensors in the memory of the CPU, too, and what Python's own allocator
has.  *Resident* is memory of the process alone that has been touched.

Not covered: device memory; a C library without ``mallinfo2`` (glibc 2.33 has it), where *memory* is not counted.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from faultkit.worlds import leaks

__all__ = ["Meter", "ProcessMeter", "install", "memory_bytes", "of_this_rank", "resident_bytes"]

_IN_BLOCKS = re.compile(rb"# bytes in allocated blocks\s*=\s*([\d,]+)")
_told = ctypes.create_string_buffer(1 << 16)
SHARED = ("/dev/shm/", "/memfd:", "/dev/zero", "/SYSV", "/dev/hugepages")


class Meter(Protocol):
    """Counts what one rank has."""

    def counts(self) -> dict[str, int]:
        """How much of each measure there is."""

    def names(self) -> dict[str, list[str]]:
        """What there is, by measure, where that can be said."""


_of_other_ranks: Callable[[], Meter | None] = lambda: None  # noqa: E731


def install(find: Callable[[], Meter | None]) -> None:
    """From now on `find` is asked first, which gives None where the caller is no rank of its."""
    global _of_other_ranks
    _of_other_ranks = find


def of_this_rank() -> Meter:
    """The meter of the rank that calls."""
    return _of_other_ranks() or ProcessMeter()


class ProcessMeter:
    """Counts what this process has."""

    def counts(self) -> dict[str, int]:
        found = {
            "descriptors": len(leaks.open_descriptors()),
            "threads": len(os.listdir("/proc/self/task")),
            "children": len(leaks.children()),
            "shared_memory": len(_shared_memory()),
            "temporary_files": len(leaks.temporary_files()),
            "resident": resident_bytes(),
        }
        memory = memory_bytes()
        return found if memory is None else {**found, "memory": memory}

    def names(self) -> dict[str, list[str]]:
        links = leaks.links_of(leaks.open_descriptors())
        described = leaks.described(leaks.children())
        return {
            "descriptors": list(links.values()),
            "threads": _thread_names(),
            "children": [str(words) for words in described.values()],
            "shared_memory": _shared_memory(),
            "temporary_files": leaks.temporary_files(),
        }


def _shared_memory() -> list[str]:
    """What is mapped of it, and what of this rank's has a name and is not mapped."""
    mapped = []
    with open("/proc/self/maps") as lines:
        for line in lines:
            path = line[line.find("/") :].rstrip() if "/" in line else ""
            if path.startswith(SHARED):
                mapped.append(path.removesuffix(" (deleted)"))
    return [*mapped, *(path for path in leaks.shared_memory() if path not in mapped)]


def resident_bytes() -> int:
    """The memory of this process alone that has been touched, in bytes."""
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    return 0


def _thread_names() -> list[str]:
    """Those that Python has given, else those that the kernel knows."""
    by_number = {thread.native_id: thread.name for thread in threading.enumerate()}
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it may end meanwhile
            found.append(by_number.get(int(task.name)) or (task / "comm").read_text().strip())
    return found


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


@functools.cache
def _mallinfo2() -> Any:
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is not None:
        function.restype = _Mallinfo2
    return function


def memory_bytes() -> int | None:
    """What malloc and Python's allocator have given out in this process, in bytes; None where nobody can tell."""
    function = _mallinfo2()
    if function is None:
        return None
    found = function()
    return int(found.uordblks + found.hblkhd) + _python_bytes()


def _python_bytes() -> int:
    """What Python's allocator of objects has given out; 0 where this Python does not tell."""
    libc, told = _stats_of_python()
    if told is None:
        return 0
    stream = libc.fmemopen(_told, len(_told), b"w")  # not standard error, which belongs to the program
    if not stream:
        return 0
    told(stream)
    libc.fclose(stream)
    found = _IN_BLOCKS.search(_told.value)
    return int(found[1].replace(b",", b"")) if found else 0


@functools.cache
def _stats_of_python() -> tuple[Any, Any]:
    libc = ctypes.CDLL(None)
    told = getattr(ctypes.pythonapi, "_PyObject_DebugMallocStats", None)
    if told is None or not hasattr(libc, "fmemopen"):
        return libc, None
    told.argtypes = [ctypes.c_void_p]
    libc.fmemopen.restype = ctypes.c_void_p
    libc.fmemopen.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.fclose.argtypes = [ctypes.c_void_p]
    return libc, told
