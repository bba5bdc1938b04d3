"""Notes what a load asks of the files under a directory: names looked up, listings, bytes read, and what it writes.

For a process that loads once and then ends: nothing is put back.  Reads are noted where the load takes bytes from a
file, so what a buffer reads ahead does not count.  What a question is, and what becomes of one: `faultkit.crash.trace`.

Left out: calls that take a directory by descriptor; they ask for the whole tree.
"""

from __future__ import annotations

import builtins
import functools
import io
import os
import shutil
import sys
from typing import Any

from faultkit.crash.trace import Trace

__all__ = ["Trace", "install"]

# What other processes ask is not seen, above all not the names that they look up and do not find.
PROCESSES = frozenset(
    ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")
)


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


def install(root: str) -> Trace:
    """Record from now on what this process asks of files under `root`."""
    trace = Trace(os.path.abspath(root))
    _open_files(trace)
    _look_up_names(trace)
    _move_files(trace)
    sys.addaudithook(lambda event, _: trace.cannot_follow() if event in PROCESSES else None)
    return trace


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
            with trace.opening(name):
                found = original_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
            if writes:
                trace.own(name)
            return found
        with trace.opening(name):
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
        with trace.opening(name):
            found = original_os_open(path, flags, mode, dir_fd=dir_fd)
        if writes:
            trace.own(name)
        return found

    builtins.open = io.open = open_  # type: ignore[assignment]
    os.open = os_open


def _before_writing(trace: Trace, name: str, path: Any, *, keeps: bool) -> None:
    """Note what decides whether `name` can be written, and, where it keeps what was there, that."""
    trace.wrote = True
    trace.place(name)
    if keeps:
        trace.note("read", name, 0, -1)
    with trace.silent():
        if os.path.islink(path):
            trace.unknown()  # what is written has another name, too


def _look_up_names(trace: Trace) -> None:
    def noting(kind: str, original: Any, is_opened: bool = False) -> Any:
        def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("dir_fd") is not None:
                trace.unknown()
            elif (name := trace.inside(path)) is not None:
                trace.note(kind, name)
                if is_opened:
                    with trace.opening(name):
                        return original(path, *args, **kwargs)
            elif isinstance(path, int) and is_opened:
                trace.unknown()
            return original(path, *args, **kwargs)

        return call

    def asking(original: Any) -> Any:
        def call(path: Any) -> Any:
            if (name := trace.inside(path)) is not None:
                trace.note("open", name)
            with trace.silent():
                return original(path)

        return call

    for name in ("stat", "lstat", "access", "readlink", "chmod", "utime"):
        setattr(os, name, noting("stat", getattr(os, name)))
    os.listdir = noting("list", os.listdir, is_opened=True)
    # an entry of a listing tells its kind and size without asking again: sizes count as listed
    os.scandir = noting("scan", os.scandir, is_opened=True)
    for name in ("exists", "lexists", "isfile", "isdir"):  # which tell no size
        setattr(os.path, name, asking(getattr(os.path, name)))


def _take_along(trace: Trace, name: str, path: Any) -> None:
    """Note all that moves with `name`: its content, or that of all files beneath it."""
    trace.note("under", name)
    with trace.silent(opens=True):
        below = [os.path.join(at, file) for at, _, files in os.walk(path) for file in files]
        if os.path.islink(path) or any(map(os.path.islink, below)):
            below = []
            trace.cannot_follow()
    for file in below or [path]:
        inside = trace.inside(file)
        if inside is not None:
            trace.note("read", inside, 0, -1)


def _move_files(trace: Trace) -> None:
    def named(path: Any, kwargs: dict[str, Any]) -> str | None:
        if any(kwargs.get(key) is not None for key in ("dir_fd", "src_dir_fd", "dst_dir_fd")):
            trace.unknown()
            return None
        return trace.inside(path)

    def moving(original: Any) -> Any:
        """rename, replace and link: two names, the first of which may be a directory."""

        def call(source: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
            names = [named(source, kwargs), named(target, kwargs)]
            trace.wrote = trace.wrote or names != [None, None]
            for name in filter(None, names):
                trace.place(name)
            if names[0] is not None and not trace.owns(names[0]):
                _take_along(trace, names[0], source)
            if names[1] is not None:
                trace.note("list", names[1])  # over a directory it goes only where that is empty
            found = original(source, target, *args, **kwargs)
            trace.own(*filter(None, names))
            return found

        return call

    def placing(original: Any, kind: str) -> Any:
        """One name, which is there or not there afterwards."""

        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            name = named(path, kwargs)
            if name is not None:
                trace.place(name)
                if kind:
                    trace.note(kind, name, *((0, -1) if kind == "read" else ()))
            if kind == "read":
                trace.wrote = trace.wrote or name is not None
            found = original(path, *args, **kwargs)
            if name is not None:
                trace.own(name)
            return found

        return call

    def symlink(source: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        if named(target, kwargs) is not None:
            trace.unknown()
        original_symlink(source, target, *args, **kwargs)

    @functools.wraps(shutil.rmtree)
    def rmtree(path: Any, *args: Any, **kwargs: Any) -> Any:
        name = named(path, kwargs)
        if name is None:
            return original_rmtree(path, *args, **kwargs)
        trace.note("under", name)
        with trace.silent(opens=True):
            original_rmtree(path, *args, **kwargs)
        trace.own(name)
        return None

    for name in ("rename", "replace", "link"):
        setattr(os, name, moving(getattr(os, name)))
    for name, kind in (
        ("unlink", ""),
        ("remove", ""),
        ("mkdir", ""),
        ("rmdir", "list"),
        ("truncate", "read"),
    ):
        setattr(os, name, placing(getattr(os, name), kind))
    original_symlink, os.symlink = os.symlink, symlink  # type: ignore[assignment]
    original_rmtree, shutil.rmtree = shutil.rmtree, rmtree  # type: ignore[assignment]
