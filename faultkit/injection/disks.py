"""A small disk that is really one: a tmpfs of a few pages, which only this process and its children see.

It is mounted in namespaces of their own (user and mounts), which many systems allow without privileges and some
forbid.  The process must have one thread only, as a test runner has before it starts anything: ranks that are
started afterwards see the disk, too.  It is gone with the last of the processes.  Not covered: a process that has
threads, and systems other than Linux.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["mount_small_disk"]

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000


def mount_small_disk(directory: str | os.PathLike[str], size_bytes: int) -> None:
    """From now on `directory` is an empty file system of `size_bytes`, rounded up to whole pages.

    Raises OSError where the system does not allow it, and ValueError for a size that is no positive number.
    """
    if isinstance(size_bytes, bool) or not isinstance(size_bytes, int) or size_bytes < 1:
        raise ValueError(f"size_bytes must be a positive number of bytes (got {size_bytes!r})")
    library = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    _check(library.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "namespaces of one's own")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as stream:
            stream.write(text)
    _check(library.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "private mounts")
    options = f"size={size_bytes}".encode()
    _check(library.mount(b"none", os.fsencode(directory), b"tmpfs", 0, options), f"a tmpfs at {directory}")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
