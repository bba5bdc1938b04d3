"""Records what a load asks of the files under a directory: names looked up, listings, bytes read.

For a process that loads once and then ends: nothing is put back.  A question is one of

    ("open", path)  ("stat", path)  ("list", path)  ("read", path, offset, length)  ("tree",)

and its answer follows from the tree alone, so two trees that answer all questions of a load alike give the
same load.  Reads are
seen where the load takes bytes from a file.  What is not seen in Python is seen by the kernel (inotify): a
file or directory opened by C++, Rust or another process, which nobody here noted, adds ("tree",), and so does
anything that moves or rewrites files: the answer to that is the whole tree.

Left out: a name that C++ alone looked up and did not find; see `Trace.opaque`, which the judge asks of a load
that finds everything.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import os
import struct
from typing import Any

__all__ = ["Trace", "install"]

IN_OPEN = 0x20
IN_ISDIR = 0x40000000
EVENT = struct.Struct("iIII")

Question = tuple[Any, ...]


class Trace:
    """The questions so far, in order, each once."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.questions: dict[Question, None] = {}
        self.opaque = False
        self.wrote = False
        self._last: Question | None = None
        self._seen: set[str] = set()
        self._watch, self._watched = _watch(root)

    def inside(self, path: Any) -> str | None:
        """`path` relative to the root, "" for the root itself; None where it lies elsewhere."""
        if isinstance(path, int) or path is None:
            return None
        try:
            text = os.path.abspath(os.fsdecode(path))
        except (TypeError, ValueError):
            return None
        if text == self.root:
            return ""
        return text[len(self.root) + 1 :] if text.startswith(self.root + "/") else None

    def note(self, *question: Any) -> None:
        self._seen.add(question[1] if len(question) > 1 else "")
        last = self._last
        if (
            question[0] == "read"
            and last is not None
            and last[:2] == question[:2]
            and last[3] >= 0
            and question[3] >= 0
            and last[2] + last[3] == question[2]
        ):  # reading on: one question
            self.questions.pop(last, None)
            question = ("read", question[1], last[2], last[3] + question[3])
        self._last = question if question[0] == "read" else None
        self.questions.setdefault(question)

    def unknown(self) -> None:
        """Something happened whose outcome hangs on more than can be said."""
        self.questions.setdefault(("tree",))

    def finish(self) -> list[Question]:
        """All questions, after a last look at what the kernel saw."""
        for name in _opened(self._watch, self._watched):
            if name not in self._seen:
                self.opaque = True
        if self.opaque:
            self.unknown()
        return list(self.questions)


def _watch(root: str) -> tuple[int, dict[int, str]]:
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    watched: dict[int, str] = {}
    if descriptor >= 0:
        for directory in [directory for directory, _, _ in os.walk(root)]:  # walking opens, too
            number = library.inotify_add_watch(descriptor, os.fsencode(directory), IN_OPEN)
            watched[number] = os.path.relpath(directory, root) if directory != root else ""
    return descriptor, watched


def _opened(descriptor: int, watched: dict[int, str]) -> set[str]:
    """Names that were opened by whomever; of directories too."""
    names: set[str] = set()
    while descriptor >= 0:
        try:
            events = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            break
        place = 0
        while place < len(events):
            number, _, _, length = EVENT.unpack_from(events, place)
            name = events[place + EVENT.size : place + EVENT.size + length].rstrip(b"\0").decode()
            directory = watched.get(number, "")
            names.add("/".join(part for part in (directory, name) if part))
            place += EVENT.size + length
    return names


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
        trace.note("open", name)
        if set(mode) & set("wax+"):
            trace.wrote = True
            trace.unknown()
            return original_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if opener is not None:
            trace.note("read", name, 0, -1)
            return original_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = io.FileIO(file, "r")
        if buffering == 0 and "b" in mode:
            trace.note("read", name, 0, -1)
            return raw
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
        elif name is not None:
            trace.note("open", name)
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                trace.wrote = True
                trace.unknown()
            else:
                trace.note("read", name, 0, -1)
        return original_os_open(path, flags, mode, dir_fd=dir_fd)

    builtins.open = io.open = open_  # type: ignore[assignment]
    os.open = os_open


def _look_up_names(trace: Trace) -> None:
    def noting(kind: str, original: Any) -> Any:
        def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("dir_fd") is not None:
                trace.unknown()
            elif (name := trace.inside(path)) is not None:
                trace.note(kind, name)
            elif isinstance(path, int) and kind == "list":
                trace.unknown()
            return original(path, *args, **kwargs)

        return call

    for name in ("stat", "lstat", "access", "readlink"):
        setattr(os, name, noting("stat", getattr(os, name)))
    os.listdir = noting("list", os.listdir)
    # an entry of a listing tells its kind and size without asking again: sizes count as listed
    os.scandir = noting("scan", os.scandir)


def _move_files(trace: Trace) -> None:
    def moving(original: Any, mutates: bool) -> Any:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("dir_fd") is not None or kwargs.get("src_dir_fd") is not None:
                trace.unknown()
            for one in (path, *args[:1]):
                name = trace.inside(one) if isinstance(one, (str, bytes, os.PathLike)) else None
                if name is not None:
                    trace.note("stat", name)
                    trace.wrote = trace.wrote or mutates
                    if mutates:
                        trace.unknown()
            return original(path, *args, **kwargs)

        return call

    for name in ("rename", "replace", "link", "symlink", "truncate"):
        setattr(os, name, moving(getattr(os, name), True))
    for name in ("unlink", "remove", "rmdir", "mkdir"):
        setattr(os, name, moving(getattr(os, name), False))
