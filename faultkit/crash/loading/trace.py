"""`Trace`: the questions that a load has asked of the files under a directory.

A question is one of

    ("open", path)  ("stat", path)  ("list", path)  ("scan", path)  ("under", path)
    ("read", path, offset, length)  ("tree",)

and its answer follows from the tree alone, so two trees that answer all questions of a load alike give the
same load.  What the load itself has written, made, moved there or removed is its own: that follows from the answers
so far, and nothing more is asked of it.

What is not noted here is seen by the kernel (inotify): a file or directory that C++, Rust or another process opened
adds ("tree",), and so does what changes files in a way that cannot be followed: the answer is the whole tree.

Not covered: noting, see `faultkit.crash.loading.read_tracer`; a name that C++ alone looked up and did not find: see
`Trace.opaque`, which the judge asks of a load that finds everything.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

__all__ = ["Question", "Trace"]

IN_ACCESS, IN_CLOSE, IN_OPEN, IN_Q_OVERFLOW = 0x1, 0x18, 0x20, 0x4000
EVENT = struct.Struct("iIII")

Question = tuple[Any, ...]


class Trace:
    """The questions so far, in order, each once."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.questions: dict[Question, None] = {}
        self.opaque = False
        self.wrote = False
        self._own: set[str] = set()
        self._last: Question | None = None
        self._opened: Counter[str] = Counter()
        self._thread = threading.local()
        self._watch, self._watched = _watch(root)

    def inside(self, path: Any) -> str | None:
        """`path` relative to the root, "" for the root itself; None where it lies elsewhere, or nobody should note."""
        if isinstance(path, int) or path is None or self._is_silent():
            return None
        try:
            text = os.path.abspath(os.fsdecode(path))
        except (TypeError, ValueError):
            return None
        if text == self.root:
            return ""
        return text[len(self.root) + 1 :] if text.startswith(self.root + "/") else None

    @contextlib.contextmanager
    def silent(self, *, opens: bool = False) -> Iterator[None]:
        """What this thread does meanwhile has been noted as a whole; it `opens` files, perhaps."""
        if opens:
            self._look()
        before, self._thread.is_silent = self._is_silent(), True
        try:
            yield
        finally:
            self._thread.is_silent = before
            if opens:
                for _ in _opened(self._watch, self._watched):
                    pass

    def _is_silent(self) -> bool:
        return getattr(self._thread, "is_silent", False)

    def owns(self, name: str) -> bool:
        """Whether what stands at `name` is the reader's own work."""
        while name:
            if name in self._own:
                return True
            name = name.rpartition("/")[0]
        return False

    @property
    def owned(self) -> frozenset[str]:
        """The names of its own; what stands below them is its own, too."""
        return frozenset(self._own)

    def own(self, *names: str) -> None:
        """What stands at these names, and below them, is the reader's own work from now on."""
        new = [name for name in names if not self.owns(name)]
        if new:
            self._look()  # at what somebody else opened there while it was not
            self._own.update(new)

    def note(self, *question: Any) -> None:
        if len(question) > 1 and self.owns(question[1]):
            self._last = None
            return
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

    @contextlib.contextmanager
    def opening(self, name: str) -> Iterator[None]:
        """Meanwhile `name` is opened here, which the kernel tells of, too."""
        self._look()  # before and after: the kernel tells of two opens in a row as of one
        yield
        self._opened[name] += 1
        self._look()

    def place(self, name: str) -> None:
        """It makes or replaces what stands at `name`: whether it can follows from what stands there and above."""
        self.note("open", name)
        self.note("open", name.rpartition("/")[0])

    def unknown(self) -> None:
        """Something happened whose outcome hangs on more than can be said."""
        if not self._is_silent():
            self.questions.setdefault(("tree",))

    def cannot_follow(self) -> None:
        """From here on something asks that is not seen."""
        self.opaque = True
        self.questions.setdefault(("tree",))

    def finish(self) -> list[Question]:
        """All questions, after a last look at what the kernel saw."""
        self._look()
        if self.opaque:
            self.unknown()
        return list(self.questions)

    def _look(self) -> None:
        for name in _opened(self._watch, self._watched):
            self._opened[name] -= 1
            if self._opened[name] < 0 and not self.owns(name):
                self.opaque = True


def _watch(root: str) -> tuple[int, dict[int, str]]:
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    watched: dict[int, str] = {}
    if descriptor >= 0:
        for directory in [directory for directory, _, _ in os.walk(root)]:  # walking opens, too
            # reads and closes lie between two opens, which would else be told as one
            number = library.inotify_add_watch(
                descriptor, os.fsencode(directory), IN_OPEN | IN_ACCESS | IN_CLOSE
            )
            watched[number] = os.path.relpath(directory, root) if directory != root else ""
    return descriptor, watched


def _opened(descriptor: int, watched: dict[int, str]) -> Iterator[str]:
    """Each name as often as it was opened, by whomever, since the last look; directories too."""
    while descriptor >= 0:
        try:
            events = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            break
        place = 0
        while place < len(events):
            number, mask, _, length = EVENT.unpack_from(events, place)
            directory = watched.get(number, "")
            # of itself a directory tells, too; but its parent has told that, save for the topmost one
            if mask & (IN_OPEN | IN_Q_OVERFLOW) and (length or not directory):
                name = events[place + EVENT.size : place + EVENT.size + length].rstrip(b"\0")
                yield "/".join(filter(None, (directory, os.fsdecode(name))))
            place += EVENT.size + length
