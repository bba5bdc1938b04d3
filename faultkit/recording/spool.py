"""The file to which one process appends its operations the moment each is over, and how it is read again.

Guarantees: one operation is one frame, written by one system call without any buffer of ours, so that a killed
process leaves every operation that it had finished; a frame cut short at the end of a file is dropped.  The same
frames come from the Python recorder and from the preloaded library.  A frame is two lengths of 4 bytes, little
endian (of the head, of the data), the head (a msgpack array, `RawOperation`) and the data.  Where the length of the
data is `ELSEWHERE`, 16 bytes follow that say where in the `scratch` file it lies: offset and length.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from faultkit.recording import scratch
from faultkit.recording.scratch import LARGE_BYTES, Scratch

__all__ = ["RawOperation", "Spool", "read_frames"]

ELSEWHERE = 0xFFFFFFFF  # no system call writes as much at once
_UNREADABLE = (
    msgspec.DecodeError,
    UnicodeDecodeError,
)  # the second until msgspec 0.22, of a text that is none

_LENGTHS = struct.Struct("<II")
_PLACE = struct.Struct("<QQ")
_writev = os.writev  # the originals: what a recorder writes is not recorded
_open = os.open
_close = os.close


class RawOperation(msgspec.Struct, array_like=True):
    """One operation as its process saw it: absolute names, the system's numbers, nanoseconds of CLOCK_MONOTONIC.

    `device` and `inode` tell the file of the call, or that of `path` before a call on names; `links` how many names
    it had then.  `thread` is the system's number.  `number` is free for the kind: the rank in "begin".
    """

    kind: str
    process: int
    thread: int
    start_ns: int
    end_ns: int
    path: str = ""
    target: str = ""
    device: int = 0
    inode: int = 0
    handle: int = -1
    flags: int = 0
    offset: int = 0
    error: str = ""
    where: list[str] = []
    name: str = ""
    number: int = 0
    phase: str = ""
    group: list[int] = []
    root: int = -1


class Spool:
    """An open spool file; large data goes to `scratch` where one is given.  Raises OSError where it cannot be made."""

    def __init__(self, path: str, scratch: Scratch | None = None) -> None:
        self.path = path
        self._scratch = scratch
        self.failed: OSError | None = None
        self._descriptor = _open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._encoder = msgspec.msgpack.Encoder()

    def append(self, operation: tuple[Any, ...], data: Any = b"") -> None:
        """Write one frame: the first fields of a `RawOperation`, as a tuple, which costs a fraction of one.

        Where it cannot be written, the recording says so and the recorded run goes on.
        """
        if self.failed is not None:
            return
        head = self._encoder.encode(operation)
        length = len(data)
        if length >= LARGE_BYTES and self._scratch is not None:
            place = self._put_elsewhere(self._scratch, data)
            if place is not None:
                length, data = ELSEWHERE, place
        pieces: list[Any] = [_LENGTHS.pack(len(head), length) + head]
        rest = len(pieces[0]) + len(data)
        if length:
            pieces.append(data)
        try:
            with _lock:
                while rest:
                    written = _writev(self._descriptor, pieces)
                    rest -= written
                    if rest:  # as a signal or a full disk can have it
                        pieces = [memoryview(b"".join(pieces))[written:]]
        except OSError as error:
            self.failed = error
            # said by a name, since an empty file can be made where nothing can be written any more
            why = errno.errorcode.get(error.errno or 0, "error")
            _close(_open(f"{self.path}.{why}.failed", os.O_WRONLY | os.O_CREAT, 0o600))

    def _put_elsewhere(self, scratch: Scratch, data: Any) -> bytes | None:
        """The place of `data` in the scratch file, None where it has to go to the spool."""
        with _lock:
            offset = scratch.reserve(len(data))
        if offset is None or not scratch.write(offset, data):
            return None
        return _PLACE.pack(offset, len(data))

    def close(self) -> None:
        _close(self._descriptor)
        if self._scratch is not None:
            self._scratch.close()


_lock = threading.Lock()  # one for all, so that a child of this process can be given a new one


def _new_lock_in_child() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_new_lock_in_child)


def read_frames(path: str, scratch_descriptor: int = -1) -> Iterator[tuple[RawOperation, bytes]]:
    """The whole frames of a spool file, in the order in which they were written.

    Raises RecordingError where a name in it is no text, or a frame is none.
    """
    decoder = msgspec.msgpack.Decoder(RawOperation)
    with open(path, "rb") as file:
        while len(lengths := file.read(_LENGTHS.size)) == _LENGTHS.size:
            head_length, data_length = _LENGTHS.unpack(lengths)
            expected = _PLACE.size if data_length == ELSEWHERE else data_length
            head, data = file.read(head_length), file.read(expected)
            if len(head) < head_length or len(data) < expected:
                return
            if data_length == ELSEWHERE:
                data = scratch.read(scratch_descriptor, *_PLACE.unpack(data))
            try:
                operation = decoder.decode(head)
            except _UNREADABLE as error:
                from faultkit.exceptions import RecordingError  # which a recorded process does not need

                raise RecordingError(_refusal(head, error)) from None
            yield operation, data


def _refusal(head: bytes, error: Exception) -> str:
    """Why the head of a frame cannot be read: by the first name in it that is no text, where there is one."""
    text = _no_text(head)
    if text is None:
        return f"record: a recording holds a frame that is none ({error})"
    name = text.decode(errors="backslashreplace")
    return f"record: a recording can hold only names that are text in UTF-8 (got '{name}')"


def _no_text(piece: bytes) -> bytes | None:
    """The first text in a piece of msgpack that is not UTF-8, as msgspec does not give it."""
    try:
        msgspec.msgpack.decode(piece)
        return None
    except _UNREADABLE:
        pass
    try:
        parts = msgspec.msgpack.decode(piece, type=list[msgspec.Raw])
    except _UNREADABLE:
        return piece[{0xD9: 2, 0xDA: 3, 0xDB: 5}.get(piece[0], 1) :]  # what stands before a text, by its form
    return next((text for part in parts if (text := _no_text(bytes(part))) is not None), None)
