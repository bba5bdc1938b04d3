"""Where the threads of a rank are: the thread of the function, the engine's step, what a call is part of already.

Guarantees: what is said of a thread is known on that thread alone, and ends with the block that says it.  Not covered:
threads of native code, which have no place here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["ThreadContext"]


class ThreadContext:
    """The threads of one session; the one that makes it runs the function, until another one says so.

    `main` is the identity of that thread.
    """

    def __init__(self) -> None:
        self.main = threading.get_ident()
        self._here = threading.local()
        self._lock = threading.Lock()
        self._open_steps: list[Any] = []

    def adopt(self) -> None:
        """The calling thread is the one that runs the function."""
        self.main = threading.get_ident()

    @property
    def is_main(self) -> bool:
        """Whether the calling thread is the one of the function, or in a step of the engine."""
        return threading.get_ident() == self.main or bool(getattr(self._here, "steps", None))

    @property
    def step(self) -> str | None:
        """The engine's step this thread is in; a thread that is in none has the one that is open, if any."""
        stack = getattr(self._here, "steps", None)
        if stack:
            return stack[-1]
        open_steps = self._open_steps
        return open_steps[0] if len(open_steps) == 1 else None

    @contextlib.contextmanager
    def in_step(self, step: Any) -> Iterator[None]:
        """The calling thread is in the engine's step `step` meanwhile."""
        stack = self._here.__dict__.setdefault("steps", [])
        stack.append(step)
        with self._lock:
            self._open_steps.append(step)
        try:
            yield
        finally:
            stack.pop()
            with self._lock:
                self._open_steps.remove(step)

    def is_inside(self, point: str) -> bool:
        """Whether this thread is inside a method of a file system that counts as a call of `point` already."""
        return point in getattr(self._here, "inside", ())

    @contextlib.contextmanager
    def inside(self, point: str) -> Iterator[None]:
        """What this thread does meanwhile belongs to one call of `point`."""
        outer = getattr(self._here, "inside", ())
        self._here.inside = (*outer, point)
        try:
            yield
        finally:
            self._here.inside = outer

    @property
    def is_unseen(self) -> bool:
        """Whether what this thread does counts as no call of any point."""
        return getattr(self._here, "is_unseen", False)

    @contextlib.contextmanager
    def unseen(self) -> Iterator[None]:
        """What this thread does meanwhile is no part of the work: it is faultkit that asks."""
        self._here.is_unseen = True
        try:
            yield
        finally:
            self._here.is_unseen = False

    def raw_opened(self) -> None:
        """A real file was opened on this thread, whose operations are seen below."""
        self._here.raw_opened = self.raw_open_count + 1

    @property
    def raw_open_count(self) -> int:
        """How many real files were seen being opened on this thread."""
        return getattr(self._here, "raw_opened", 0)
