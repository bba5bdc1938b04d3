"""`open` with a raw file of our own at the bottom: the buffers above it are the interpreter's.

Guarantees: a file that a handler wants is opened with the buffer that the interpreter would have chosen, and each
write of that buffer to the file is one `Call`: data that Python still holds is seen as not written.  Any other
file, and any argument that `open` would refuse, goes to the interpreter's own `open`.  Raw files opened while
somebody listened stay usable when nobody does any more.
"""

from __future__ import annotations

import io
import itertools
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from faultkit.interception import handles
from faultkit.interception.chain import Call, Handle, chain_of, run

__all__ = ["RawFile", "SeenFileIO", "buffer_size_of", "make_open", "open_descriptor"]

_FileIO = io.FileIO
_os_open = os.open
BUFFER_BYTES_MAX_3_14 = 8 << 20


class RawFile(_FileIO):
    """A raw file whose writes, truncates and close are seen; of a file that nobody wants it is a plain one."""

    def __init__(
        self, file: Any, mode: str = "r", closefd: bool = True, opener: Callable[..., int] | None = None
    ) -> None:
        self._handle: Handle | None = None
        if isinstance(file, int):
            super().__init__(file, mode, closefd, opener)
            self._handle = handles.find(self.fileno())
        else:
            super().__init__(file, mode, closefd, _open_seen if opener is None else _seen_afterwards(opener))
            self._handle = handles.known(self.fileno())

    def write(self, data: Any) -> Any:
        handle = self._handle
        if handle is None or not handle.chain or self.closed:
            return super().write(data)
        call = Call(
            "write",
            handle.path,
            descriptor=self.fileno(),
            handle=handle,
            data=memoryview(data).cast("B"),
            function="FileIO.write",
        )
        return run(handle.chain, call, self._write)

    def _write(self, call: Call) -> Any:
        return super().write(call.data)

    def truncate(self, size: Any = None) -> int:
        handle = self._handle
        if handle is None or not handle.chain or self.closed or not self.writable():
            return super().truncate(size)
        wanted = self.tell() if size is None else size
        call = Call(
            "truncate",
            handle.path,
            descriptor=self.fileno(),
            handle=handle,
            offset=wanted,
            function="FileIO.truncate",
        )
        run(handle.chain, call, self._truncate)
        return wanted

    def _truncate(self, call: Call) -> int:
        return super().truncate(call.offset)

    def close(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is None or not handle.chain or self.closed or not self.closefd:
            super().close()
            return
        descriptor = self.fileno()
        call = Call("close", handle.path, descriptor=descriptor, handle=handle, function="FileIO.close")
        handles.forget(descriptor)  # before: another thread may be given the number at once
        try:
            run(handle.chain, call, self._close)
        finally:
            if (
                not self.closed
            ):  # a handler failed it, and as the system does, the descriptor is gone all the same
                super().close()

    def _close(self, call: Call) -> None:
        super().close()


class ReadRawFile(RawFile):
    """A raw file whose reads are seen as well."""

    def readinto(self, buffer: Any) -> Any:
        handle = self._handle
        if handle is None or not handle.reads or self.closed:
            return super().readinto(buffer)
        call = Call(
            "read",
            handle.path,
            descriptor=self.fileno(),
            handle=handle,
            offset=self.tell() if self.seekable() else -1,
            buffer=memoryview(buffer).cast("B"),
            function="FileIO.read",
        )
        return run(handle.chain, call, self._readinto)

    def _readinto(self, call: Call) -> Any:
        return super().readinto(call.buffer)

    def read(self, size: int | None = -1) -> Any:
        handle = self._handle
        if handle is None or not handle.reads or self.closed:
            return super().read(-1 if size is None else size)
        if size is None or size < 0:
            return self.readall()
        buffer = bytearray(size)
        count = self.readinto(buffer)
        return None if count is None else bytes(buffer[:count])

    def readall(self) -> Any:
        handle = self._handle
        if handle is None or not handle.reads or self.closed:
            return super().readall()
        pieces = []
        rest = os.fstat(self.fileno()).st_size - self.tell()
        while piece := self.read(max(rest, io.DEFAULT_BUFFER_SIZE)):
            pieces.append(piece)
            rest -= len(piece)
        return b"".join(pieces)


def _open_seen(path: Any, flags: int) -> int:
    return open_descriptor(_os_open, path, flags, 0o666, None, "io.open")


def open_descriptor(
    real: Callable[..., int], path: Any, flags: int, mode: int, directory: int | None, function: str
) -> int:
    """Open `path` by way of who wants it; `real` takes path, flags, mode and dir_fd as `os.open` does."""
    name = handles.absolute(path, directory)
    chain, reads = chain_of(name)

    def opened(call: Call) -> int:
        reached = path if call.path == name else call.path
        descriptor = real(reached, call.flags, mode, dir_fd=directory if reached is path else None)
        call.descriptor, call.handle = (
            descriptor,
            handles.register(descriptor, name, call.flags, chain, reads),
        )
        return descriptor

    call = Call("open", name, flags=flags, function=function)
    return run(chain, call, opened) if chain else opened(call)


def _seen_afterwards(opener: Callable[..., int]) -> Callable[..., int]:
    """An opener of the user's: its own calls are seen; a descriptor from anywhere else counts as opened now."""

    def open_by(path: Any, flags: int) -> int:
        descriptor = opener(path, flags)
        if isinstance(descriptor, int) and descriptor >= 0 and handles.known(descriptor) is None:
            name = handles.name_of(descriptor)
            return open_descriptor(lambda *_, **__: descriptor, name, flags, 0, None, "io.open")
        return descriptor

    return open_by


def buffer_size_of(block_size_bytes: int) -> int:
    """The buffer in bytes that `open` takes for a file whose blocks have this size."""
    if sys.version_info >= (3, 14):
        return max(min(block_size_bytes, BUFFER_BYTES_MAX_3_14), io.DEFAULT_BUFFER_SIZE)
    return block_size_bytes if block_size_bytes > 1 else io.DEFAULT_BUFFER_SIZE


def make_open(real_open: Callable[..., Any]) -> Callable[..., Any]:
    """A function that stands for `real_open`, the interpreter's own."""

    def open(  # noqa: A001
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Callable[..., int] | None = None,
    ) -> Any:
        chain, reads = _wanted(file)
        if not chain or not _is_plain(mode, buffering, encoding, errors, newline):
            return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        block_size = next((one.block_size for one in chain if one.block_size), None)
        return _build(file, mode, buffering, encoding, errors, newline, closefd, opener, reads, block_size)

    open.__doc__ = real_open.__doc__
    open.__module__ = "io"
    return open


def _wanted(file: Any) -> tuple[tuple[Any, ...], bool]:
    if isinstance(file, int):
        handle = handles.find(file)
        return ((), False) if handle is None else (handle.chain, handle.reads)
    try:
        return chain_of(handles.absolute(file))
    except (TypeError, ValueError, OSError):
        return (), False


def _is_plain(mode: Any, buffering: Any, encoding: Any, errors: Any, newline: Any) -> bool:
    """Whether `open` accepts these; whoever passes others is told so by `open` itself."""
    kind = _PLAIN.get(mode) if isinstance(mode, str) else None
    if kind is None or not isinstance(buffering, int):
        return False
    if kind == "binary":
        return encoding is None and errors is None and newline is None
    return buffering != 0


_PLAIN = {  # every mode that `open` accepts
    "".join(letters): "binary" if "b" in letters else "text"
    for count in (1, 2, 3)
    for letters in itertools.permutations("rwxabt+", count)
    if len(set(letters) & set("rwxa")) == 1 and not {"b", "t"} <= set(letters)
}


def _build(
    file: Any,
    mode: str,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
    closefd: bool,
    opener: Callable[..., int] | None,
    reads: bool,
    block_size: int | None,
) -> Any:
    binary = "b" in mode
    file = file if isinstance(file, int) else os.fspath(file)  # which is the name that the file then has
    raw = (ReadRawFile if reads else RawFile)(file, mode.replace("b", "").replace("t", ""), closefd, opener)
    result: Any = raw
    try:
        line_buffering = buffering == 1 and not binary
        if binary and buffering == 1:
            warnings.warn(
                "line buffering (buffering=1) isn't supported in binary mode, the default buffer size will be used",
                RuntimeWarning,
                stacklevel=3,
            )
        if buffering < 0 or buffering == 1:
            buffering = block_size or buffer_size_of(os.fstat(raw.fileno()).st_blksize)
        if buffering == 0:
            return raw
        if "+" in mode:
            result = io.BufferedRandom(raw, buffering)
        elif "r" in mode:
            result = io.BufferedReader(raw, buffering)
        else:
            result = io.BufferedWriter(raw, buffering)
        if binary:
            return result
        result = text = io.TextIOWrapper(result, encoding, errors, newline, line_buffering)
        text.mode = mode  # type: ignore[misc]
        return text
    except BaseException:
        result.close()
        raise


class _Kind(type(_FileIO)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _FileIO)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is not SeenFileIO:
            return super().__call__(*args, **kwargs)
        file = args[0] if args else kwargs.get("file")
        chain, reads = _wanted(file)
        if not chain:
            return _FileIO(*args, **kwargs)
        return (ReadRawFile if reads else RawFile)(*args, **kwargs)


class SeenFileIO(_FileIO, metaclass=_Kind):
    """Stands for `io.FileIO` while somebody listens: makes a raw file that is seen, or a plain one."""
