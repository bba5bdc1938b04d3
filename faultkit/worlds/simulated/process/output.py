"""What simulated ranks print is the rank's: standard output and error, and the handlers of `logging` on them.

Guarantees: what Python code writes to `sys.stdout` or `sys.stderr`, whoever has taken these by name, to
`sys.__stdout__` and `sys.__stderr__`, to their `buffer`, or by `os.write` to descriptor 1 or 2, goes to the rank that
writes, in order; any other thread's to the host's own.  So does what processes print that a rank has started: to a
file in memory, which is read whenever the rank prints something itself, and at the end.  Once descriptor 1 or 2 leads
elsewhere, because somebody has put another one in its place, it is left alone.

Not covered: what C code prints, and files that are opened on descriptor 1 or 2.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from faultkit.worlds.simulated.core.ranks import Rank
from faultkit.worlds.simulated.core.rebinding import replace, replacement_of
from faultkit.worlds.simulated.core.scheduler import current_task
from faultkit.worlds.simulated.process import resource_owners

__all__ = ["collect", "file_of", "forget", "install", "is_of_host"]

READ_BYTES = 1 << 16

_memfd_create, _close = os.memfd_create, os.close
_host: tuple[int, int] = (-1, -1)  # where descriptors 1 and 2 of the host lead: device and number
_decoder = codecs.getincrementaldecoder("utf-8")


def install() -> None:
    """Once, in the host."""
    global _host
    status = os.fstat(1)
    _host = status.st_dev, status.st_ino
    for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
        replace(sys, name, _Router)
    os.write = _writing(os.write)
    _reroute_logging()


def is_of_host(descriptor: int) -> bool:
    """Whether what is written to `descriptor` would be the host's output."""
    if descriptor not in (1, 2):
        return False
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == _host


def file_of(rank: Rank) -> int | None:
    """The descriptor of the file that processes which the rank starts print to; None where there can be no more."""
    if rank.printed is None:
        try:
            descriptor = _memfd_create(f"output of rank {rank.number}")
        except OSError:
            return None
        resource_owners.disown(descriptor)
        rank.printed = _Printed(rank, descriptor)
    printed: _Printed = rank.printed
    return printed.descriptor


class _Printed:
    """What processes that a rank has started have printed; `collect` gives the rank what is new."""

    def __init__(self, rank: Rank, descriptor: int) -> None:
        self._rank, self.descriptor, self._offset = rank, descriptor, 0
        self._decoder = _decoder("backslashreplace")

    def collect(self) -> None:
        while piece := os.pread(self.descriptor, READ_BYTES, self._offset):
            self._offset += len(piece)
            self._rank.append(self._decoder.decode(piece))


def collect(rank: Rank) -> None:
    """Give the rank what processes have printed since."""
    if rank.printed is not None:
        rank.printed.collect()


def forget(rank: Rank) -> None:
    """The run is over, and what the rank printed has been read."""
    if rank.printed is not None:
        _close(rank.printed.descriptor)
        rank.printed = None


def _writing(original: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
    def write(fd: int, data: Any, /) -> int:
        task = current_task()
        if task is None or fd not in (1, 2) or not is_of_host(fd):
            return original(fd, data)
        content = bytes(data)
        task.rank.write(content.decode("utf-8", "backslashreplace"))
        return len(content)

    return write


def _reroute_logging() -> None:
    """Handlers that were made before write to the stream of whatever rank logs."""
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        handler = reference()
        if handler is None or isinstance(getattr(type(handler), "stream", None), property):
            continue  # the latter asks for the stream each time
        stream = getattr(handler, "stream", None)
        now = replacement_of(stream)
        if now is not stream:
            handler.stream = now
        elif _is_standard(stream):
            handler.stream = sys.stderr


def _is_standard(stream: Any) -> bool:
    """Whether it is the standard error that the process had before its streams were opened anew."""
    return stream is not None and getattr(stream, "name", "") == "<stderr>"


class _Bytes(io.RawIOBase):
    """The bytes below a `_Router`."""

    def __init__(self, router: _Router) -> None:
        self._router = router

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._router.fileno())

    def write(self, data: Any) -> int:
        task = current_task()
        if task is None:
            return int(self._router._original.buffer.write(data))
        content = bytes(data)
        task.rank.write(content.decode("utf-8", "backslashreplace"))
        return len(content)

    def flush(self) -> None:
        self._router.flush()

    def close(self) -> None:
        """Nothing is closed: the other ranks write to it, too."""


class _Router:
    """A text stream whose output is that of the rank that writes; any other thread's is the host's."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, original: Any) -> None:
        self._original = original
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        task = current_task()
        if task is None:
            return int(self._original.write(text))
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        task.rank.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if current_task() is None:
            self._original.flush()

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
