"""Which file a descriptor of this process stands for, also where nobody saw it being opened.

The table can be wrong: C code closes a descriptor and its number comes back for another file.  So every answer is
held to what the system says of the descriptor (device and inode), and where they differ, or nothing is known, the
name is asked of the system.  Not covered: sockets, pipes and devices, which are no files here.
"""

from __future__ import annotations

import os
import stat

from faultkit.interception.chain import Handle, Handler, chain_of

__all__ = [
    "absolute",
    "all_known",
    "clear",
    "find",
    "forget",
    "known",
    "name_of",
    "register",
    "renew",
    "share",
]

_DELETED = " (deleted)"
_handles: dict[int, Handle] = {}
_fstat = os.fstat
_readlink = os.readlink


def absolute(path: object, directory: int | None = None) -> str:
    """`path` as an absolute normal name; relative to the open `directory` where one is given."""
    name = os.fsdecode(os.fspath(path))  # type: ignore[call-overload]
    if name.startswith("/") and "/." not in name and "//" not in name:
        return name if name == "/" else name.rstrip("/")
    if directory is not None and not name.startswith("/"):
        name = os.path.join(_readlink(f"/proc/self/fd/{directory}"), name)
    return os.path.abspath(name)


def register(
    descriptor: int,
    path: str,
    flags: int,
    chain: tuple[Handler, ...] | None = None,
    reads: bool = False,
) -> Handle | None:
    """Remember that `descriptor` was opened at `path` just now; None where that is no file or directory.

    `chain` and `reads` are what `chain_of` says of the path, where the caller has asked already.
    """
    state = _fstat(descriptor)
    directory = stat.S_ISDIR(state.st_mode)
    if not directory and not stat.S_ISREG(state.st_mode):
        return None
    if chain is None:
        chain, reads = chain_of(path)
    identity = (state.st_dev, state.st_ino)
    handle = _handles[descriptor] = Handle(path, identity, directory, flags, chain, reads)
    return handle


def find(descriptor: int) -> Handle | None:
    """The open file behind `descriptor`; None where it is closed, or no file or directory."""
    try:
        state = _fstat(descriptor)
    except (OSError, TypeError, ValueError, OverflowError):
        return None
    handle = _handles.get(descriptor)
    if handle is not None and handle.identity == (state.st_dev, state.st_ino):
        return handle
    directory = stat.S_ISDIR(state.st_mode)
    if not directory and not stat.S_ISREG(state.st_mode):
        return None
    try:
        path = name_of(descriptor)
    except OSError:
        return None
    handle = _handles[descriptor] = Handle(path, (state.st_dev, state.st_ino), directory, 0, *chain_of(path))
    return handle


def known(descriptor: int) -> Handle | None:
    """What the table says of `descriptor`, without asking the system."""
    return _handles.get(descriptor)


def all_known() -> list[int]:
    """The descriptors in the table."""
    return list(_handles)


def name_of(descriptor: int) -> str:
    """The name that the system has for what is open as `descriptor`, without the mark of a removed file."""
    return _readlink(f"/proc/self/fd/{descriptor}").removesuffix(_DELETED)


def share(descriptor: int, handle: Handle) -> None:
    """`descriptor` is a duplicate: another number for the same open file."""
    _handles[descriptor] = handle


def forget(descriptor: int) -> None:
    """`descriptor` is closed."""
    _handles.pop(descriptor, None)


def renew() -> None:
    """Ask again who wants to hear of each open file: handlers came or went."""
    for handle in list(_handles.values()):
        handle.chain, handle.reads = chain_of(handle.path)


def clear() -> None:
    """Nobody listens any more; what is open is asked of the system should somebody listen again."""
    renew()
    _handles.clear()
