"""What makes good for an error in changing names, whichever way it is done: the change itself, seen on the disk.

A program may come to the same end otherwise: `shutil.move` copies where a rename fails, `os.makedirs` is content with
a directory that is there.  `remedy` notes, the moment the error is injected, how things stand, and gives a question
to ask later: whether that which the failed operation was to bring about is so.

Not covered: whether a copy holds the same bytes (its size is compared), names in storage that is no directory of files,
and every operation that changes no name.
"""

from __future__ import annotations

import os
import posix
import stat
from collections.abc import Callable

__all__ = ["remedy"]

_REMOVALS = ("fs.unlink", "fs.rm_file", "fs.rmdir")
_NAMINGS = ("fs.rename", "fs.link")


def remedy(point: str, path: str, target: str = "") -> Callable[[], bool] | None:
    """Whether what `point` was to do with `path` is done by now; None where that cannot be seen.

    `target` is the new name of a rename or a link.
    """
    if not os.path.isabs(path):
        return None
    if point == "fs.mkdir":
        return lambda: (found := _state(path)) is not None and stat.S_ISDIR(found.st_mode)
    if point in _REMOVALS:
        return lambda: _state(path) is None
    if point in _NAMINGS and os.path.isabs(target):
        source, before = _state(path), _state(target)
        return lambda: _has_come(_state(target), source, before)
    return None


def _has_come(
    now: os.stat_result | None, source: os.stat_result | None, before: os.stat_result | None
) -> bool:
    """Whether the new name stands for something that it did not stand for before, and that is as large."""
    if now is None or source is None:
        return False
    if before is not None and _identity(before) == _identity(now):
        return False
    if stat.S_IFMT(now.st_mode) != stat.S_IFMT(source.st_mode):
        return False
    return stat.S_ISDIR(now.st_mode) or now.st_size == source.st_size


def _identity(state: os.stat_result) -> tuple[int, ...]:
    return (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def _state(path: str) -> os.stat_result | None:
    try:
        return posix.lstat(path)  # what `os` has may be replaced, and would be counted
    except (OSError, ValueError):
        return None
