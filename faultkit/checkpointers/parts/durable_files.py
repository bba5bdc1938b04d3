"""Files that are on the disk when the call returns: written whole, named in one step, removed without a trace.

Guarantees: each function has made durable what it did when it returns, and has an effect that a crash undoes whole or
not at all, but for `write`, whose file is nobody's before something names it.  `publish` either names the directory or
leaves it under the name that it had, and raises.  Not covered: a disk that lies, of which `publish` finds out that the
name is not there; a failure of what undoes a failure.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["publish", "remove", "sync", "write"]


def write(path: Path, data: bytes) -> None:
    """A new file.  Raises FileExistsError where there is one, and OSError."""
    with open(path, "xb") as stream:
        stream.write(data)
        stream.flush()  # from Python's buffer to the kernel,
        os.fsync(stream.fileno())  # and from the kernel to the disk


def sync(directory: Path) -> None:
    """The names in `directory` are there after a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, name: Path) -> None:
    """Give the directory `temporary`, in which all is durable, its `name` beside it."""
    try:
        os.rename(temporary, name)
        sync(name.parent)
        if name.name not in os.listdir(name.parent):
            raise OSError(f"a rename to {name.name} was reported as done, and was not")
    except BaseException:
        with contextlib.suppress(OSError):  # where the rename was not done, there is nothing to take back
            os.rename(name, temporary)
        raise


def remove(directory: Path, aside: Path) -> None:
    """Take `directory`, in which there are only files, out of the way by the name `aside`, and remove it."""
    if directory != aside:
        os.rename(directory, aside)
        sync(aside.parent)  # before the first file of it goes
    for name in os.listdir(aside):
        os.unlink(aside / name)
    os.rmdir(aside)
