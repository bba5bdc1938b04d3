"""Standard input, output and error of a command: closed, full, or with a reader that has seen enough.

Guarantees: a reader that goes away changes nothing: what is written to it from then on is dropped, and the exit
status says what was found.  Output that cannot be written otherwise, as on a full disk, is a `UsageError`, one line.
No file, socket or pipe of ours ever gets the number of a stream that was closed.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from faultkit.cli.run_sweep import USAGE, UsageError, say

__all__ = ["flushed", "ready", "write_found", "write_json"]


class _Patient(io.RawIOBase):
    """Writes to `raw`, and drops everything once that has failed."""

    def __init__(self, raw: io.FileIO, name: str) -> None:
        self._raw = raw
        self._name = name
        self._is_lost = False

    def write(self, data: Any) -> int:
        if not self._is_lost:
            try:
                return self._raw.write(data) or 0
            except BrokenPipeError:
                self._is_lost = True
            except OSError as error:
                self._is_lost = True
                raise UsageError(f"{self._name} cannot be written: {error.strerror}") from None
        return len(data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()


@contextlib.contextmanager
def ready() -> Iterator[str]:
    """Standard output and error as promised above, meanwhile; gives what is wrong with them, or nothing."""
    closed = [
        name
        for name, stream in (("standard output", sys.stdout), ("standard error", sys.stderr))
        if stream is None
    ]
    _occupy()
    if closed:
        sys.stdout = sys.stderr = sys.stderr or sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    before = sys.stdout, sys.stderr
    sys.stdout = _patient(sys.stdout, "standard output")
    sys.stderr = _patient(sys.stderr, "standard error")
    try:
        yield f"{' and '.join(closed)} must be open; send it to /dev/null to see none of it" if closed else ""
    finally:
        sys.stdout, sys.stderr = before


def flushed(status: int) -> int:
    """`status`, or that of a mistake where the rest of the output cannot be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except UsageError as error:
            status = say(error.format_message(), USAGE)
    return status


def _patient(stream: Any, name: str) -> Any:
    """`stream`, or a stream over the same descriptor that has patience; one of a test is left as it is."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(raw, io.FileIO):
        return stream
    stream.flush()
    # a terminal that knows no dot still gets its report
    return io.TextIOWrapper(
        io.BufferedWriter(_Patient(raw, name)),
        encoding=stream.encoding,
        errors="replace" if name == "standard output" else "backslashreplace",
        line_buffering=stream.line_buffering or name == "standard error",
    )


def _occupy() -> None:
    """Let a closed standard stream read and write nothing."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def write_json(path: str | None, text: str, torch: str = "") -> None:
    """As `write_found`, a JSON object with what it was made of, which is asked for where something is written."""
    if path is not None:
        from faultkit.report.made import stamped

        write_found(path, stamped(text, torch))


def write_found(path: str | None, content: str | bytes) -> None:
    """Write to `path`, whole or not at all; "-" is standard output.  Raises UsageError where it cannot be written."""
    if path is None:
        return
    if path == "-" and isinstance(content, str):
        sys.stdout.write(content)
        return
    from faultkit.whole_files import write_whole

    try:
        write_whole(path, content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
