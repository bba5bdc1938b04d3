"""Notes names that a load looks up, lists, makes, moves and removes, in the place of the functions of `os` that do it.

For a process that loads once and then ends: nothing is put back.  Not covered: opening files
(`faultkit.crash.loading.read_tracer`), and calls that take a directory by descriptor; they ask for the whole tree.
"""

from __future__ import annotations

import functools
import os
import shutil
from typing import Any

from faultkit.crash.loading.trace import Trace

__all__ = ["SEEN", "look_up", "move"]

STATS = (
    "access", "chdir", "chmod", "chown", "getxattr", "lchown", "listxattr", "lstat", "pathconf", "readlink", "stat",
    "statvfs", "utime",
)  # fmt: skip
ASKS = ("exists", "isdir", "isfile", "lexists")  # which tell no size
MOVES = ("link", "rename", "replace")
PLACES = {
    "mkdir": "",
    "mkfifo": "",
    "mknod": "",
    "remove": "",
    "rmdir": "list",
    "truncate": "read",
    "unlink": "",
}
SEEN = (
    *((os, name) for name in (*STATS, "listdir", "scandir", *MOVES, *PLACES, "symlink")),
    *((os.path, name) for name in ASKS),
    (shutil, "rmtree"),
)


def look_up(trace: Trace) -> None:
    """Note from now on what is looked up and listed."""

    def noting(kind: str, original: Any, is_opened: bool = False) -> Any:
        def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("dir_fd") is not None:
                trace.unknown()
            elif (name := trace.inside(path)) is not None:
                trace.note(kind, name)
                if is_opened:
                    with trace.opening(name):
                        return original(path, *args, **kwargs)
            elif isinstance(path, int) and is_opened:
                trace.unknown()
            return original(path, *args, **kwargs)

        return call

    def asking(original: Any) -> Any:
        def call(path: Any) -> Any:
            if (name := trace.inside(path)) is not None:
                trace.note("open", name)
            with trace.silent():
                return original(path)

        return call

    for name in STATS:
        setattr(os, name, noting("stat", getattr(os, name)))
    os.listdir = noting("list", os.listdir, is_opened=True)
    # an entry of a listing tells its kind and size without asking again: sizes count as listed
    os.scandir = noting("scan", os.scandir, is_opened=True)
    for name in ASKS:
        setattr(os.path, name, asking(getattr(os.path, name)))


def _take_along(trace: Trace, name: str, path: Any) -> None:
    """Note all that moves with `name`: its content, or that of all files beneath it."""
    trace.note("under", name)
    with trace.silent(opens=True):
        below = [os.path.join(at, file) for at, _, files in os.walk(path) for file in files]
        if os.path.islink(path) or any(map(os.path.islink, below)):
            below = []
            trace.cannot_follow()
    for file in below or [path]:
        inside = trace.inside(file)
        if inside is not None:
            trace.note("read", inside, 0, -1)


def move(trace: Trace) -> None:
    """Note from now on what is made, moved and removed."""

    def named(path: Any, kwargs: dict[str, Any]) -> str | None:
        if any(kwargs.get(key) is not None for key in ("dir_fd", "src_dir_fd", "dst_dir_fd")):
            trace.unknown()
            return None
        return trace.inside(path)

    def moving(original: Any) -> Any:
        """rename, replace and link: two names, the first of which may be a directory."""

        def call(src: Any, dst: Any, *args: Any, **kwargs: Any) -> Any:
            names = [named(src, kwargs), named(dst, kwargs)]
            trace.wrote = trace.wrote or names != [None, None]
            for name in filter(None, names):
                trace.place(name)
            if names[0] is not None and not trace.owns(names[0]):
                _take_along(trace, names[0], src)
            if names[1] is not None:
                trace.note("list", names[1])  # over a directory it goes only where that is empty
            found = original(src, dst, *args, **kwargs)
            trace.own(*filter(None, names))
            return found

        return call

    def placing(original: Any, kind: str) -> Any:
        """One name, which is there or not there afterwards."""

        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            name = named(path, kwargs)
            if name is not None:
                trace.place(name)
                if kind:
                    trace.note(kind, name, *((0, -1) if kind == "read" else ()))
            if kind == "read":
                trace.wrote = trace.wrote or name is not None
            found = original(path, *args, **kwargs)
            if name is not None:
                trace.own(name)
            return found

        return call

    def symlink(src: Any, dst: Any, *args: Any, **kwargs: Any) -> None:
        if named(dst, kwargs) is not None:
            trace.unknown()
        original_symlink(src, dst, *args, **kwargs)

    @functools.wraps(shutil.rmtree)
    def rmtree(path: Any, *args: Any, **kwargs: Any) -> Any:
        name = named(path, kwargs)
        if name is None:
            return original_rmtree(path, *args, **kwargs)
        trace.note("under", name)
        with trace.silent(opens=True):
            original_rmtree(path, *args, **kwargs)
        trace.own(name)
        return None

    for name in MOVES:
        setattr(os, name, moving(getattr(os, name)))
    for name, kind in PLACES.items():
        setattr(os, name, placing(getattr(os, name), kind))
    original_symlink, os.symlink = os.symlink, symlink
    original_rmtree, shutil.rmtree = shutil.rmtree, rmtree  # type: ignore[assignment]
