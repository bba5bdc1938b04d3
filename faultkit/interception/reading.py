"""The functions of `os` that read, list and ask, each as a `Call`: replaced only while a handler wants reads.

Guarantees: same arguments, same results, same exceptions as the originals, save for what a handler makes of them.
Not covered: listing and asking by an open descriptor, `os.readv`, and `os.readlink`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from faultkit.interception import descriptors, handles
from faultkit.interception.chain import Call, Handle, chain_of

__all__ = ["READS"]

_real = {
    name: getattr(os, name)
    for name in ("read", "readv", "pread", "preadv", "listdir", "scandir", "stat", "lstat", "access")
}


def read(fd: int, length: int, /) -> bytes:
    handle = descriptors.handle_of(fd)
    if handle is None or not handle.reads or handle.is_directory or length < 0:
        return _real["read"](fd, length)
    return _read("read", fd, handle, length, -1)


def pread(fd: int, length: int, offset: int, /) -> bytes:
    handle = descriptors.handle_of(fd)
    if handle is None or not handle.reads or length < 0:
        return _real["pread"](fd, length, offset)
    return _read("pread", fd, handle, length, offset)


def _read(name: str, fd: int, handle: Handle, length: int, offset: int) -> bytes:
    buffer = bytearray(length)

    def real(call: Call) -> int:
        if offset < 0:
            return _real["readv"](fd, [call.buffer])
        return _real["preadv"](fd, [call.buffer], offset)

    place = os.lseek(fd, 0, os.SEEK_CUR) if offset < 0 else offset
    count = descriptors.call_on("read", fd, handle, name, real, buffer=memoryview(buffer), offset=place)
    return bytes(buffer[:count])


def listdir(path: Any = None) -> list[Any]:
    if isinstance(path, int):
        return _real["listdir"](path)
    name = handles.absolute("." if path is None else path)
    return descriptors.call_by_name("list", name, "listdir", lambda call: _real["listdir"](path))


def scandir(path: Any = None) -> Any:
    if isinstance(path, int):
        return _real["scandir"](path)
    name = handles.absolute("." if path is None else path)
    if not chain_of(name)[1]:
        return _real["scandir"](path)
    with _real["scandir"](path) as entries:
        found = {entry.name: entry for entry in entries}
    kept = descriptors.call_by_name("list", name, "scandir", lambda call: list(found))
    return _Entries([found[one] for one in kept if one in found])


class _Entries:
    """What scandir gives: an iterator that is closed, too."""

    def __init__(self, entries: list[Any]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


def stat_(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
    if isinstance(path, int):
        return _real["stat"](path)
    return _stat(
        "stat", path, dir_fd, lambda: _real["stat"](path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    )


def lstat(path: Any, *, dir_fd: int | None = None) -> os.stat_result:
    return _stat("lstat", path, dir_fd, lambda: _real["lstat"](path, dir_fd=dir_fd))


def access(path: Any, mode: int, **also: Any) -> bool:
    try:
        return _stat("access", path, also.get("dir_fd"), lambda: _real["access"](path, mode, **also))
    except OSError:
        return False


def _stat(function: str, path: Any, dir_fd: int | None, real: Callable[[], Any]) -> Any:
    if isinstance(path, int):
        return real()
    return descriptors.call_by_name("stat", handles.absolute(path, dir_fd), function, lambda call: real())


READS: dict[str, Callable[..., Any]] = {
    "read": read,
    "pread": pread,
    "listdir": listdir,
    "scandir": scandir,
    "stat": stat_,
    "lstat": lstat,
    "access": access,
}
