"""Memory for what ranks write in large pieces, which the caller keeps from one recording to the next.

Guarantees: new pages cost most of what a copy of large data costs, so a rank copies such data to memory that has been
used before, and only the place of it to its spool.  The memory has no name: it is a file of the caller's, which the
ranks open by way of /proc, and which ends with the caller, whatever happens.  It is used again only where every rank
has come back, so that nobody still writes to it.  What does not fit, and what cannot be opened, goes to the spool.
Not covered: commands, whose processes nobody knows before.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = ["BYTES_MAX", "LARGE_BYTES", "Scratch", "borrow", "give_back", "path_of", "read"]

LARGE_BYTES = 1 << 16
BYTES_MAX = 128 << 20  # of all ranks of a recording together, and kept after it

_pwrite = os.pwrite  # the originals: what a recorder writes is not recorded
_open = os.open
_close = os.close

_free: list[int] = []


def borrow(count: int) -> list[int]:
    """Descriptors of `count` scratch files, used ones first; give them back, or close them."""
    descriptors: list[int] = []
    while len(descriptors) < count:
        try:
            descriptors.append(_free.pop())
        except IndexError:
            descriptors.append(os.memfd_create("faultkit-recording"))
    return descriptors


def give_back(descriptors: list[int]) -> None:
    """Keep the memory for the next recording: `BYTES_MAX` at most, the other files are closed."""
    for descriptor in descriptors:
        _free.append(descriptor)
    kept = 0
    for descriptor in _free[:]:
        kept += os.fstat(descriptor).st_size
        if kept > BYTES_MAX:
            _free.remove(descriptor)
            _close(descriptor)


def path_of(descriptor: int) -> str:
    """The name by which another process of this user opens a descriptor of this one."""
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def read(descriptor: int, offset: int, length: int) -> bytes:
    """The `length` bytes at `offset`."""
    pieces = []
    while length:
        piece = os.pread(descriptor, length, offset)
        if not piece:
            raise EOFError(f"a scratch file ends {length} bytes before its data")
        pieces.append(piece)
        offset, length = offset + len(piece), length - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Scratch:
    """A rank's side: a file of `bytes_max` at most.  Raises OSError where it cannot be opened."""

    def __init__(self, path: str, bytes_max: int) -> None:
        self._descriptor = _open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._bytes_max = bytes_max
        self._end = 0
        self._process = os.getpid()

    def reserve(self, length: int) -> int | None:
        """An offset for so many bytes, None where there is no room, or in a child, which has none of its own."""
        if self._end + length > self._bytes_max or os.getpid() != self._process:
            return None
        offset = self._end
        self._end += length
        return offset

    def write(self, offset: int, data: Any) -> bool:
        """Whether all of `data` is there."""
        try:
            rest = memoryview(data)
            while rest:
                written = _pwrite(self._descriptor, rest, offset)
                offset, rest = offset + written, rest[written:]
        except OSError:
            return False
        return True

    def close(self) -> None:
        _close(self._descriptor)


def _forget_in_child() -> None:
    while _free:
        _close(_free.pop())


os.register_at_fork(after_in_child=_forget_in_child)
