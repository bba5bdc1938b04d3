"""Files that are whole or not there: `write_whole`.

Guarantees: whoever looks at a file that is written here finds all of it or what stood there before, however the writer
ends.  Not covered: the bytes of a file that is written when the power goes are synced, its name is not; and a writer
that is killed half way leaves a hidden ``.faultkit-*`` file beside it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from faultkit.endings import beginning

__all__ = ["is_stream", "mode_of", "write_whole"]


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Make `content` (text as UTF-8) that of the file at `path`: written beside it, synced, and renamed.

    The file keeps its mode, and a link stays a link.  What is no regular file (a pipe, ``/dev/stdout``) is
    written to as it is.  Raises OSError, whose `filename` is `path`; nothing is left of what was begun.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    name = os.fspath(path)
    try:
        mode = mode_of(name)
        if is_stream(name, mode):
            with open(name, "wb") as stream:
                stream.write(data)
        else:
            _replace(os.path.realpath(name), mode, data)
    except OSError as error:
        error.filename, error.filename2 = name, None
        raise


def mode_of(path: str) -> int | None:
    """The mode of the file at `path`; None where there is none.  Raises OSError."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def is_stream(path: str, mode: int | None) -> bool:
    """Whether `path` cannot be replaced: it is no regular file, or names a descriptor, whatever stands behind it."""
    return mode is not None and (
        not stat.S_ISREG(mode) or os.path.abspath(path).startswith(("/dev/", "/proc/"))
    )


def _replace(path: str, mode: int | None, data: bytes) -> None:
    beside = os.path.join(os.path.dirname(path), f".faultkit-{secrets.token_hex(8)}")
    try:
        with beginning(beside):
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with open(descriptor, "wb") as stream:
                if mode is not None:
                    os.fchmod(descriptor, stat.S_IMODE(mode))
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
            os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
