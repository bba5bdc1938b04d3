"""What a run leaves behind on a rank: threads, descriptors, child processes, shared memory, temporary files.

Taken before and after the function: the two together cost less than a tenth of a millisecond, and only where
they differ does `left_since` look closer.  It then gives what ends by itself a short grace, and collects
garbage: what only a cycle of dead objects holds is not left behind.

What counts.  *Threads* of `threading` that still live.  *Descriptors* that were not open before; a socket or
an epoll descriptor only if a Python object owns it, because gloo opens its own when a group is made or first
used, and closes them when it likes, as other libraries do.  *Children* that live or were not waited for,
without the helpers that multiprocessing and torch keep for the life of a process.  *Shared memory*: entries
of ``/dev/shm`` that this rank created by `multiprocessing` or torch and that are there still, or that it
holds open.  *Temporary files*: what this rank made with `tempfile`, wherever that was; a directory alone does
not tell who made an entry.

Not covered: threads of C++ libraries and their children, memory that is still mapped after its name and
descriptor are gone, a socket known by its number only, files made without `tempfile` (a checkpoint is one),
and GPU memory.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import threading
import time
from typing import Any, NamedTuple

from faultkit.processes import threads

__all__ = [
    "SHARED_MEMORY",
    "Snapshot",
    "bounded",
    "children",
    "described",
    "in_all_since",
    "install",
    "is_left",
    "left_since",
    "links_of",
    "new_threads",
    "of_the_function",
    "open_descriptors",
    "present_files",
    "present_memory",
    "shared_memory",
    "snapshot",
    "temporary_files",
]

GRACE_SECONDS_MAX = 0.05
NAMED_COUNT_MAX = 50
SHARED_MEMORY = "/dev/shm"
LIBRARY_KINDS = ("socket:", "anon_inode:")
LIBRARY_DEVICES = ("/dev/random", "/dev/urandom", "/dev/nvidia", "/dev/dri/", "/dev/kfd")  # opened once, kept
LIBRARY_CHILDREN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "torch_shm_manager")
PER_PROCESS_PREFIX = "pymp-"  # the directory that multiprocessing keeps until the process ends

_made_files: list[str] = []
_made_memory: list[str] = []


class Snapshot(NamedTuple):
    """What there is at one moment; `files` and `memory` say how much this rank had made by then."""

    threads: frozenset[threading.Thread]
    descriptors: frozenset[str]
    children: frozenset[int]
    torch_memory: frozenset[str]
    files: int
    memory: int


def install(files: list[str] | None = None, memory: list[str] | None = None) -> None:
    """From now on, for the life of this process, temporary files and shared memory are noted when made.

    They are noted in `files` and `memory` where these are given, which is for a process that has several ranks.
    """
    global _made_files, _made_memory
    import tempfile

    if files is not None and memory is not None:
        _made_files, _made_memory = files, memory

    if not isinstance(tempfile._sys, _NotedSys):  # type: ignore[attr-defined]
        tempfile._sys = _NotedSys()  # type: ignore[attr-defined]
    try:
        import _posixshmem  # type: ignore[import-not-found]
    except ImportError:
        return
    if not hasattr(_posixshmem.shm_open, "__wrapped__"):
        _posixshmem.shm_open = _noting(_posixshmem.shm_open)


class _NotedSys:
    """Stands for `sys` in `tempfile`, which announces every file there, by its path, before it makes it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)

    @staticmethod
    def audit(event: str, *args: Any) -> None:
        if event in ("tempfile.mkstemp", "tempfile.mkdtemp"):
            path = os.fsdecode(args[0])
            if not os.path.lexists(path):  # else it is another's, and the next name is tried
                _made_files.append(path)
        sys.audit(event, *args)


def _noting(shm_open: Any) -> Any:
    @functools.wraps(shm_open)
    def noted(path: str, flags: int, *args: Any, **kwargs: Any) -> int:
        descriptor: int = shm_open(path, flags, *args, **kwargs)
        if flags & os.O_CREAT:
            _made_memory.append(path.lstrip("/"))
        return descriptor

    return noted


def snapshot() -> Snapshot:
    """What this process has now."""
    return Snapshot(
        frozenset(threads.of_python()),
        open_descriptors(),
        children(),
        _torch_memory(),
        len(_made_files),
        len(_made_memory),
    )


def left_since(before: Snapshot) -> dict[str, list[str]]:
    """What there is now and was not in `before`, in words, under the five names; empty if nothing is."""
    threads = _outlast(before.threads)
    found = _compare(before)
    if any(found.values()):
        gc.collect()
        found = _compare(before)
    _made_files[before.files :] = found["files"]
    _made_memory[before.memory :] = _present(_made_memory[before.memory :])
    found["threads"] = sorted(thread.name for thread in threads)
    return {name: bounded(found[name]) for name in sorted(found)} if any(found.values()) else {}


def in_all_since(origin: Snapshot) -> dict[str, list[str]]:
    """What there is now and was not in `origin`, of an earlier run, also what ends by itself in a moment."""
    found = _compare(origin)
    found["threads"] = [thread.name for thread in new_threads(origin.threads)]
    return {name: bounded(found[name]) for name in sorted(found)}


def _outlast(before: frozenset[threading.Thread]) -> list[threading.Thread]:
    """The threads that are new and outlast the grace."""
    for is_last in (False, True):
        new = new_threads(before)
        deadline = time.monotonic() + GRACE_SECONDS_MAX / 2
        for thread in new:
            thread.join(max(0.0, deadline - time.monotonic()))
        new = [thread for thread in new if thread.is_alive()]
        if not new or is_last:
            return new
        gc.collect()  # a worker ends when its pool does
    return []


def new_threads(before: frozenset[threading.Thread]) -> list[threading.Thread]:
    """Threads that live and were not there before, without that which multiprocessing keeps for the process."""
    sharer = getattr(sys.modules.get("multiprocessing.resource_sharer"), "_resource_sharer", None)
    kept = {*before, getattr(sharer, "_thread", None)}  # multiprocessing's own, until the process ends
    return [thread for thread in threads.of_python() if thread not in kept]


def _compare(before: Snapshot) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {
        "children": [],
        "descriptors": [],
        "files": present_files(_made_files[before.files :]),
        "shared_memory": [],
        "threads": [],
    }
    memory = set(_torch_memory() - before.torch_memory)
    memory |= set(_present(_made_memory[before.memory :]))
    kept: frozenset[int] = frozenset()
    if new_children := children() - before.children:
        told = described(new_children)
        kept = frozenset(pid for pid, words in told.items() if words is None)
        found["children"] = [f"{pid} {words}" for pid, words in sorted(told.items()) if words is not None]
    new = open_descriptors() - before.descriptors
    if new:
        is_served = bool(kept) or _process_of_async_saves() is not None  # torch keeps one that has died, too
        for number, target in of_the_function(links_of(new), is_served=is_served).items():
            place, _, name = target.rpartition("/")
            if place == SHARED_MEMORY:
                memory.add(name.removesuffix(" (deleted)"))
            else:
                found["descriptors"].append(f"{number} -> {target}")
    found["shared_memory"] = sorted(os.path.join(SHARED_MEMORY, name) for name in memory)
    return found


def bounded(names: list[str]) -> list[str]:
    """`names`, of which no more than `NAMED_COUNT_MAX` are said."""
    if len(names) <= NAMED_COUNT_MAX:
        return names
    return [*names[:NAMED_COUNT_MAX], f"and {len(names) - NAMED_COUNT_MAX} more"]


# -- descriptors ---------------------------------------------------------------------------------


def open_descriptors() -> frozenset[str]:
    """The numbers of this process's descriptors."""
    try:
        own = os.dup(0)  # the number that the listing itself is about to take
        os.close(own)
        return frozenset(os.listdir("/proc/self/fd")) - {str(own)}
    except OSError:
        return frozenset()


def links_of(numbers: frozenset[str]) -> dict[int, str]:
    """What these descriptors lead to."""
    links = {}
    for number in sorted(numbers, key=int):
        try:
            links[int(number)] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
    return links


def of_the_function(links: dict[int, str], *, is_served: bool) -> dict[int, str]:
    """Those of new descriptors that are the function's, not a library's own."""
    links = {
        number: target
        for number, target in links.items()
        if not target.startswith(LIBRARY_DEVICES) and number not in _of_the_tracker()
    }
    if is_served:  # the process that torch keeps is reached through pipes and sockets that Python owns
        return {number: target for number, target in links.items() if not _may_be_a_librarys(target)}
    owned = _owned_by_python() if any(map(_may_be_a_librarys, links.values())) else frozenset()
    # gloo wakes its loop through a pipe
    loops = any(t.startswith("anon_inode:") and n not in owned for n, t in links.items())
    return {
        number: target
        for number, target in links.items()
        if number in owned or not (target.startswith(LIBRARY_KINDS) or (loops and target.startswith("pipe:")))
    }


def _of_the_tracker() -> tuple[int | None, ...]:
    """The pipe to the process in which multiprocessing keeps count of shared memory."""
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    return (getattr(tracker, "_fd", None),)


def _may_be_a_librarys(target: str) -> bool:
    return target.startswith((*LIBRARY_KINDS, "pipe:"))


def _owned_by_python() -> frozenset[int]:
    """The numbers of descriptors that live sockets, selectors and files hold."""
    import _io
    import _socket
    import selectors

    found = set()
    for thing in gc.get_objects():
        # not isinstance, which asks the object itself: it may be a proxy that imports or warns then
        if issubclass(type(thing), (_socket.socket, _io.FileIO, selectors.BaseSelector)):
            with contextlib.suppress(Exception):
                found.add(thing.fileno())
    return frozenset(found)


# -- children ------------------------------------------------------------------------------------


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def children() -> frozenset[int]:
    """The numbers of the processes that this one has started and not waited for."""
    pids: set[int] = set()
    if not _has_children():
        return frozenset()
    # a forked main thread does not know its own number; children of a thread that has ended are its, too
    for thread in {os.getpid(), *(thread.native_id for thread in threading.enumerate())}:
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/children") as listing:
            pids.update(map(int, listing.read().split()))
    return frozenset(pids)


def described(pids: frozenset[int]) -> dict[int, str | None]:
    """The command of each child; None for one that torch keeps, no entry for multiprocessing's own."""
    kept_by_torch = _process_of_async_saves()
    found: dict[int, str | None] = {}
    for pid in pids:
        try:
            name, state, command = _told_by_the_kernel(pid)
        except OSError:
            continue
        if pid == kept_by_torch:
            found[pid] = None
        elif any(part in command for part in LIBRARY_CHILDREN):
            continue
        elif state == "Z":
            found[pid] = f"{name} (ended, not waited for)"
        else:
            found[pid] = command[:200] or name
    return found


def _told_by_the_kernel(pid: int) -> tuple[str, str, str]:
    """The name, state and command line of a process.  Raises OSError where there is none of that number."""
    deadline = time.monotonic() + GRACE_SECONDS_MAX
    while True:
        with open(f"/proc/{pid}/stat") as file:
            name, state = file.read().partition("(")[2].rpartition(")")[::2]
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        # a program that has just been started has its name some microseconds before its arguments
        if command or state.split()[0] == "Z" or time.monotonic() >= deadline:
            return name, state.split()[0], command
        time.sleep(0.001)


def _process_of_async_saves() -> int | None:
    """The process that torch starts at the first asynchronous save by process, and keeps."""
    module = sys.modules.get("torch.distributed.checkpoint._async_process_executor")
    keeper = getattr(module, "_CHECKPOINT_PROCESS", None)
    return getattr(getattr(keeper, "_save_process", None), "pid", None)


# -- shared memory and files ---------------------------------------------------------------------


def _torch_memory() -> frozenset[str]:
    """Names that torch has given, which it only does where it is told to share memory by name."""
    if getattr(sys.modules.get("torch.multiprocessing"), "_sharing_strategy", "") != "file_system":
        return frozenset()
    prefix = f"torch_{os.getpid()}_"
    try:
        return frozenset(name for name in os.listdir(SHARED_MEMORY) if name.startswith(prefix))
    except OSError:
        return frozenset()


def shared_memory() -> list[str]:
    """What this process has made of it by name, and what is there still."""
    return present_memory([*_made_memory, *_torch_memory()])


def present_memory(names: list[str]) -> list[str]:
    """The paths of those `names` of shared memory that are there still."""
    return sorted(os.path.join(SHARED_MEMORY, name) for name in _present(names))


def _present(names: list[str]) -> list[str]:
    return [name for name in names if os.path.lexists(os.path.join(SHARED_MEMORY, name))]


def temporary_files() -> list[str]:
    """What this process has made with `tempfile`, and what is there still."""
    return present_files(_made_files)


def present_files(paths: list[str]) -> list[str]:
    """Those temporary files that are there still."""
    return [path for path in paths if is_left(path)]


def is_left(path: str) -> bool:
    """Whether the temporary file at `path` is there still, and is none that goes with the process."""
    return not os.path.basename(path).startswith(PER_PROCESS_PREFIX) and os.path.lexists(path)
