"""Notes what a load asks of the files under a directory: names looked up, listings, bytes read, and what it writes.

For a process that loads once and then ends: nothing is put back.  Reads are noted where the load takes bytes from a
file, so what a buffer reads ahead does not count.  Functions that modules, closures and objects hold by name (``from os
import access``) are noted as well (`faultkit.interception.rebinding`); a load that calls C by ctypes is one that
nobody can follow.  What a question is, and what becomes of one: `faultkit.crash.loading.trace`.

It is no handler of `faultkit.interception.chain`, because a handler would see less, and what is not seen is pruned
wrongly.  The chain sees what changes files, and reads, listings and `stat` of them.  It has no call for what else tells
a load of a name (`os.readlink`, `os.statvfs`, extended attributes, `os.chdir`, `os.mkfifo`), none for a directory that
is listed by descriptor, and it reaches importers in modules only, since it must be able to put back what it replaces: a
reader that was unpickled with ``open`` in it would go by.  It also asks more than a load does: its reads are those of
the buffer, and an ``exists`` is a `stat`, with the size.

Not covered: calls that take a directory by descriptor; they ask for the whole tree.  Names that an extension module
looks up: nobody sees them.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from faultkit.crash.loading import read_names
from faultkit.crash.loading.trace import Trace
from faultkit.interception import rebinding

__all__ = ["Trace", "install", "prepare"]

# What other processes and what C asks is not seen, above all not the names that they look up and do not find.
NOT_SEEN = frozenset(
    ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")
) | {"ctypes.call_function", "ctypes.dlsym", "ctypes.dlsym/handle"}
SEEN = ((builtins, "open"), (os, "open"), *read_names.SEEN)

_prepared: rebinding.Holders | None = None
_thread = threading.local()


class _Read(io.BufferedReader):
    """A file as its reader uses it: what the buffer reads ahead does not count, only what is taken from it.

    So two trees that differ only in bytes which nobody took are one, however large the buffer is.
    """

    _trace: Trace
    _name: str

    def _take(self, size: int | None) -> None:
        self._trace.note("read", self._name, super().tell(), -1 if size is None or size < 0 else size)

    def read(self, size: int | None = -1, /) -> bytes:
        self._take(size)
        return super().read(size)

    def read1(self, size: int = -1, /) -> bytes:
        self._take(size)  # at most that; where it gives less for want of a buffer, more counts than was read
        return super().read1(size)

    def readinto(self, buffer: Any, /) -> int:
        self._take(memoryview(buffer).nbytes)
        return super().readinto(buffer)

    def readinto1(self, buffer: Any, /) -> int:
        self._take(memoryview(buffer).nbytes)
        return super().readinto1(buffer)

    def peek(self, size: int = 0, /) -> bytes:
        found = super().peek(size)
        self._take(max(len(found), size, 1))
        return found

    def readline(self, size: int | None = -1, /) -> bytes:
        start = super().tell()
        line = super().readline(size)
        self._trace.note("read", self._name, start, len(line) + (not line.endswith(b"\n")))
        return line

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        self._take(-1)
        return super().readlines(hint)

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == os.SEEK_END:
            self._trace.note("stat", self._name)
        return super().seek(offset, whence)

    # whoever has the descriptor or the file below can read what he likes

    def fileno(self) -> int:
        self._trace.note("read", self._name, 0, -1)
        return super().fileno()

    def detach(self) -> Any:
        self._trace.note("read", self._name, 0, -1)
        return super().detach()

    @property
    def raw(self) -> Any:  # type: ignore[override]
        self._trace.note("read", self._name, 0, -1)
        return super().raw


def prepare() -> None:
    """Find who holds by name what `install` replaces: once, in the process whose forks load.

    What comes to hold such a function between this and `install` is not found.
    """
    global _prepared
    _prepared = rebinding.find(SEEN)


def install(root: str) -> Trace:
    """Record from now on what this process asks of files under `root`."""
    if _prepared is None:
        prepare()
    trace = Trace(os.path.abspath(root))
    _open_files(trace)
    read_names.look_up(trace)
    read_names.move(trace)
    assert _prepared is not None
    _prepared.replace()
    sys.addaudithook(lambda event, arguments: _hear(trace, event, arguments))
    return trace


def _hear(trace: Trace, event: str, arguments: tuple[Any, ...]) -> None:
    if event in NOT_SEEN:
        trace.cannot_follow()
    elif (
        event == "open"
        and not getattr(_thread, "is_opening", False)
        and (name := trace.inside(arguments[0])) is not None
    ):
        trace.note("open", name)  # by a class of `io`: of one that is there the kernel tells, too


def _open_files(trace: Trace) -> None:
    original_open, original_os_open = io.open, os.open

    def open_(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: Any = None,
        errors: Any = None,
        newline: Any = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        name = trace.inside(file)
        if name is None:
            return original_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        writes, is_plain = (
            bool(set(mode) & set("wax+")),
            opener is None and (buffering != 0 or "b" not in mode),
        )
        if writes:
            _before_writing(trace, name, file, keeps="a" in mode or "r" in mode)
        else:
            trace.note("open", name)
            if not is_plain:
                trace.note("read", name, 0, -1)
        if writes or not is_plain or trace.owns(name):
            with _opening(trace, name):
                found = original_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
            if writes:
                trace.own(name)
            return found
        with _opening(trace, name):
            raw = io.FileIO(file, "r")
        buffered = _Read(raw, buffering if buffering > 1 else max(os.fstat(raw.fileno()).st_blksize, 1))
        buffered._trace, buffered._name = trace, name
        if "b" in mode:
            return buffered
        text = io.TextIOWrapper(buffered, encoding, errors, newline)
        text.mode = mode  # type: ignore[misc]
        return text

    def os_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        name = trace.inside(path) if dir_fd is None else None
        if dir_fd is not None:
            trace.unknown()
        if name is None:
            return original_os_open(path, flags, mode, dir_fd=dir_fd)
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
        if writes:
            _before_writing(trace, name, path, keeps=not flags & (os.O_TRUNC | os.O_EXCL))
        else:
            trace.note("open", name)
            if not flags & os.O_DIRECTORY:
                trace.note("read", name, 0, -1)
        with _opening(trace, name):
            found = original_os_open(path, flags, mode, dir_fd=dir_fd)
        if writes:
            trace.own(name)
        return found

    builtins.open = io.open = open_
    os.open = os_open


@contextlib.contextmanager
def _opening(trace: Trace, name: str) -> Iterator[None]:
    """Meanwhile `name`, which has been noted, is opened here."""
    _thread.is_opening = True
    try:
        with trace.opening(name):
            yield
    finally:
        _thread.is_opening = False


def _before_writing(trace: Trace, name: str, path: Any, *, keeps: bool) -> None:
    """Note what decides whether `name` can be written, and, where it keeps what was there, that."""
    trace.wrote = True
    trace.place(name)
    if keeps:
        trace.note("read", name, 0, -1)
    with trace.silent():
        if os.path.islink(path):
            trace.unknown()  # what is written has another name, too
