"""A stream that ends early: the action ``cut`` where a file system opens a stream to read.

Guarantees: each read, seek and look goes to the real stream, with no byte more than was asked for, up to where the
file now ends; so a storage whose readers take only some ranges is read by those ranges and no others.  How long
the real one is is asked by seeking to its end.  Not covered: a stream that cannot tell, where half of it is to be left:
that is read as a whole (`cut_off` gives None).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any

from faultkit.plan.actions import Action

__all__ = ["cut_off"]


def cut_off(action: Action, stream: Any) -> Any:
    """`stream` as ``cut`` leaves it, `stream` itself where that is all of it; None for what cannot be done so."""
    if isinstance(stream, io.TextIOBase):
        return None
    size, kept = _size_of(stream), action.get("bytes")
    if kept is None:
        return None if size is None else _CutStream(stream, size // 2) if size else stream
    return stream if size is not None and int(kept) >= size else _CutStream(stream, int(kept))


def _size_of(stream: Any) -> int | None:
    try:
        here = stream.tell()
        size = stream.seek(0, os.SEEK_END)
        size = stream.tell() if size is None else size
        stream.seek(here)
    except Exception:
        return None
    return int(size)


class _CutStream:
    """The first `end` bytes of a stream."""

    def __init__(self, inner: Any, end: int) -> None:
        self._inner, self._end = inner, end

    def __getattr__(self, name: str) -> Any:
        if name in ("peek", "getbuffer", "getvalue", "fileno"):
            raise AttributeError(name)  # what would show more than there is
        return getattr(self._inner, name)

    def _left(self, wanted: int | None) -> int:
        left = max(0, self._end - self._inner.tell())
        return left if wanted is None or wanted < 0 else min(wanted, left)

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left(size)
        return self._inner.read(wanted) if wanted else b""

    read1 = read

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        wanted = self._left(len(view))
        if not wanted:
            return 0
        if hasattr(self._inner, "readinto"):
            return self._inner.readinto(view[:wanted])
        data = self._inner.read(wanted)
        view[: len(data)] = data
        return len(data)

    readinto1 = readinto

    def readline(self, size: int | None = -1, /) -> bytes:
        wanted = self._left(size)
        return self._inner.readline(wanted) if wanted else b""

    def readlines(self, hint: int | None = None, /) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_END:
            offset, whence = max(0, self._end + offset), os.SEEK_SET
        return self._inner.seek(offset, whence) if whence else self._inner.seek(offset)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self._inner.close()
