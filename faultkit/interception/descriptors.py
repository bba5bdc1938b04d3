"""The functions of `os` that change files, each as a `Call`: what stands in their place while somebody listens.

Guarantees: same arguments, same results, same exceptions as the originals; a path or descriptor that nobody wants
goes straight to them.  A gathered write is one write; sendfile and copy_file_range into a wanted file are done by
reading and writing, so that the content is seen, and may be short as theirs may.  Not covered: splice, extended
attributes, times, owners and modes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

from faultkit.interception import handles, opening
from faultkit.interception.chain import Call, Handle, chain_of, run

__all__ = ["CHANGES", "originals"]

COPY_BYTES_MAX = 8 << 20

_real = {name: getattr(os, name) for name in dir(os) if callable(getattr(os, name))}


def handle_of(descriptor: Any) -> Handle | None:
    """The open file behind a descriptor that somebody wants to hear of, else None."""
    handle = handles.find(descriptor) if isinstance(descriptor, int) else None
    return handle if handle is not None and handle.chain else None


def call_on(
    kind: str, descriptor: int, handle: Handle, name: str, real: Callable[[Call], Any], **also: Any
) -> Any:
    call = Call(kind, handle.path, descriptor=descriptor, handle=handle, function=f"os.{name}", **also)
    return run(handle.chain, call, real)


def call_by_name(
    kind: str, path: str, name: str, real: Callable[[Call], Any], target: str = "", **also: Any
) -> Any:
    """Run a call on a name; `real` gets it whether or not anybody wants it."""
    chain, _ = chain_of(path, target if kind != "symlink" else "")
    call = Call(kind, path, target=target, function=f"os.{name}", **also)
    return run(chain, call, real) if chain else real(call)


def open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:  # noqa: A001
    try:
        handles.absolute(path, dir_fd)
    except (TypeError, ValueError, OSError):
        return _real["open"](path, flags, mode, dir_fd=dir_fd)
    return opening.open_descriptor(_real["open"], path, flags, mode, dir_fd, "os.open")


def close(fd: int) -> None:
    handle = handle_of(fd)
    handles.forget(fd)
    if handle is None:
        _real["close"](fd)
        return
    closed = []

    def real(call: Call) -> None:
        closed.append(True)
        _real["close"](fd)

    try:
        call_on("close", fd, handle, "close", real)
    finally:
        if not closed:  # as the system does: after an error the descriptor is gone all the same
            _real["close"](fd)


def closerange(fd_low: int, fd_high: int, /) -> None:
    for descriptor in [one for one in handles.all_known() if fd_low <= one < fd_high]:
        try:
            close(descriptor)
        except OSError:
            pass
    _real["closerange"](fd_low, fd_high)


def write(fd: int, data: Any, /) -> int:
    handle = handle_of(fd)
    if handle is None:
        return _real["write"](fd, data)
    return call_on(
        "write", fd, handle, "write", lambda call: _real["write"](fd, call.data), data=_bytes(data)
    )


def pwrite(fd: int, buffer: Any, offset: int, /) -> int:
    handle = handle_of(fd)
    if handle is None or offset < 0:
        return _real["pwrite"](fd, buffer, offset)
    return call_on("write", fd, handle, "pwrite", _pwrite, data=_bytes(buffer), offset=offset)


def _pwrite(call: Call) -> int:
    return _real["pwrite"](call.descriptor, call.data, call.offset)


def writev(fd: int, buffers: Any, /) -> int:
    handle = handle_of(fd)
    if handle is None:
        return _real["writev"](fd, buffers)
    data = b"".join(map(_bytes, buffers))
    return call_on("write", fd, handle, "writev", lambda call: _real["write"](fd, call.data), data=data)


def pwritev(fd: int, buffers: Any, offset: int, flags: int = 0, /) -> int:
    handle = handle_of(fd)
    if handle is None or offset < 0:
        return _real["pwritev"](fd, buffers, offset, flags)
    data = b"".join(map(_bytes, buffers))
    return call_on(
        "write",
        fd,
        handle,
        "pwritev",
        lambda call: _real["pwritev"](fd, [call.data], call.offset, flags),
        data=data,
        offset=offset,
        flags=_waits_for_disk(flags),
    )


def _waits_for_disk(flags: int) -> int:
    """A write's own flags as those of open that mean the same."""
    if flags & getattr(os, "RWF_SYNC", 0):
        return os.O_SYNC
    return os.O_DSYNC if flags & getattr(os, "RWF_DSYNC", 0) else 0


def _bytes(data: Any) -> memoryview:
    return memoryview(data).cast("B")


def ftruncate(fd: int, length: int, /) -> None:
    handle = handle_of(fd)
    if handle is None:
        return _real["ftruncate"](fd, length)
    return call_on(
        "truncate", fd, handle, "ftruncate", lambda call: _real["ftruncate"](fd, call.offset), offset=length
    )


def truncate(path: Any, length: int) -> None:
    if isinstance(path, int):
        return ftruncate(path, length)
    name = handles.absolute(path)
    return call_by_name(
        "truncate", name, "truncate", lambda call: _real["truncate"](path, call.offset), offset=length
    )


def posix_fallocate(fd: int, offset: int, length: int, /) -> None:
    handle = handle_of(fd)
    if handle is None or offset < 0 or length <= 0:
        return _real["posix_fallocate"](fd, offset, length)
    size = os.fstat(fd).st_size

    def real(call: Call) -> None:
        _real["posix_fallocate"](fd, min(offset, call.offset), max(call.offset - offset, 1))

    if offset + length <= size:
        return _real["posix_fallocate"](fd, offset, length)  # blocks, but no content and no size
    return call_on("truncate", fd, handle, "posix_fallocate", real, offset=offset + length)


def fsync(fd: Any) -> None:
    return _sync("fsync", fd)


def fdatasync(fd: Any) -> None:
    return _sync("fdatasync", fd)


def _sync(name: str, fd: Any) -> None:
    descriptor = fd if isinstance(fd, int) else _descriptor_of(fd)
    handle = handle_of(descriptor)
    if handle is None:
        return _real[name](fd)
    kind = "fsync_directory" if handle.is_directory else name
    return call_on(kind, descriptor, handle, name, lambda call: _real[name](descriptor))


def _descriptor_of(file: Any) -> int:
    fileno = getattr(file, "fileno", None)
    return fileno() if callable(fileno) else -1


def rename(src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
    return _rename("rename", src, dst, src_dir_fd, dst_dir_fd)


def replace(src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
    return _rename("replace", src, dst, src_dir_fd, dst_dir_fd)


def _rename(name: str, src: Any, dst: Any, src_dir_fd: int | None, dst_dir_fd: int | None) -> None:
    def real(call: Call) -> None:
        _real[name](src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    return call_by_name(
        "rename", handles.absolute(src, src_dir_fd), name, real, handles.absolute(dst, dst_dir_fd)
    )


def link(
    src: Any,
    dst: Any,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    follow_symlinks: bool = True,
) -> None:
    def real(call: Call) -> None:
        _real["link"](src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

    return call_by_name(
        "link", handles.absolute(src, src_dir_fd), "link", real, handles.absolute(dst, dst_dir_fd)
    )


def symlink(src: Any, dst: Any, target_is_directory: bool = False, *, dir_fd: int | None = None) -> None:
    def real(call: Call) -> None:
        _real["symlink"](src, dst, target_is_directory, dir_fd=dir_fd)

    return call_by_name(
        "symlink", handles.absolute(dst, dir_fd), "symlink", real, os.fsdecode(os.fspath(src))
    )


def unlink(path: Any, *, dir_fd: int | None = None) -> None:
    return _by_name("unlink", "unlink", path, dir_fd)


def remove(path: Any, *, dir_fd: int | None = None) -> None:
    return _by_name("unlink", "remove", path, dir_fd)


def rmdir(path: Any, *, dir_fd: int | None = None) -> None:
    return _by_name("rmdir", "rmdir", path, dir_fd)


def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    name = handles.absolute(path, dir_fd)
    return call_by_name("mkdir", name, "mkdir", lambda call: _real["mkdir"](path, mode, dir_fd=dir_fd))


def _by_name(kind: str, function: str, path: Any, dir_fd: int | None) -> None:
    name = handles.absolute(path, dir_fd)
    return call_by_name(kind, name, function, lambda call: _real[function](path, dir_fd=dir_fd))


def dup(fd: int, /) -> int:
    return _duplicate(fd, _real["dup"](fd))


def dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
    if fd != fd2 and handle_of(fd2) is not None and handle_of(fd) is not None:
        close(fd2)
    return _duplicate(fd, _real["dup2"](fd, fd2, inheritable))


def _duplicate(descriptor: int, copy: int) -> int:
    handle = handle_of(descriptor)
    if handle is None:
        handles.forget(copy)
    else:
        handles.share(copy, handle)
    return copy


def sendfile(out_fd: int, in_fd: int, offset: int | None, count: int, *more: Any, **also: Any) -> int:
    handle = handle_of(out_fd)
    if handle is None or more or also or not _is_regular(in_fd):
        return _real["sendfile"](out_fd, in_fd, offset, count, *more, **also)
    return _copy("sendfile", handle, in_fd, out_fd, count, offset, None)


def copy_file_range(
    src: int, dst: int, count: int, offset_src: int | None = None, offset_dst: int | None = None
) -> int:
    handle = handle_of(dst)
    if handle is None or not _is_regular(src):
        return _real["copy_file_range"](src, dst, count, offset_src, offset_dst)
    return _copy("copy_file_range", handle, src, dst, count, offset_src, offset_dst)


def _copy(
    name: str,
    handle: Handle,
    source: int,
    goal: int,
    count: int,
    source_offset: int | None,
    offset: int | None,
) -> int:
    place = os.lseek(source, 0, os.SEEK_CUR) if source_offset is None else source_offset
    data = _real["pread"](source, min(count, COPY_BYTES_MAX), place)
    if not data:
        return 0

    def real(call: Call) -> int:
        if offset is None:
            return _real["write"](goal, call.data)
        return _real["pwrite"](goal, call.data, offset)

    written = call_on("write", goal, handle, name, real, data=data, offset=-1 if offset is None else offset)
    if source_offset is None:
        os.lseek(source, place + written, os.SEEK_SET)
    return written


def _is_regular(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


CHANGES: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        open, close, closerange, write, pwrite, writev, pwritev, ftruncate, truncate, posix_fallocate, fsync,
        fdatasync, rename, replace, link, symlink, unlink, remove, rmdir, mkdir, dup, dup2, sendfile,
        copy_file_range,
    )
    if function.__name__ in _real
}  # fmt: skip


def originals() -> dict[str, Callable[..., Any]]:
    """The interpreter's functions that `CHANGES` stand for."""
    return {name: _real[name] for name in CHANGES}
