"""Faults of layer ``fs`` on real files: below every buffer of Python, whoever opened the file.

`install` takes up one handler of file operations (`faultkit.interception.chain`), in front of a recorder, which so
sees what the file really got.  It counts each operation for the faults that mean its file and its thread, records
what fires before it acts, and lets the rest pass.  A fault that names no path means any file beneath the place of
the checkpoint; where nobody said which that is, any file save those of the system and of the interpreter (``/proc``,
the installation of Python, ``*.py``).

An open file is shown truncated, damaged or old by another file in its place: an anonymous one, under the same
descriptor.  A write that is lost or cut short in secret writes what stood there before, zeros where nothing
stood: the file has the length that it should have.  A close that fails has closed the file all the same.

What C, C++ or Rust code does to files by itself (``torch.save`` to a path, safetensors) and what a forked child does is
faulted by `faultkit.injection.files.native`, where the process was started with its library.  Not covered: memory maps,
and files that were open before the run.
"""

from __future__ import annotations

import errno
import functools
import os
import posix
import stat
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from faultkit.injection.errors import build
from faultkit.injection.files.data import altered, opened_view, writing
from faultkit.injection.perform import KILL, perform
from faultkit.injection.session import Calls, Match, Session
from faultkit.interception import chain, handles, installing
from faultkit.interception.patches import Patches
from faultkit.plan import Fault
from faultkit.plan.file_filters import ANY, matches
from faultkit.plan.points import FILE_POINTS

if TYPE_CHECKING:
    from faultkit.injection.files.native import Native

__all__ = ["PEEKING", "install", "missing", "quietly"]

PEEKING = "peeking"  # inside of this nothing is counted: faultkit itself looks at a file

_STREAMS_ONLY = ("flush", "seek")
_NAMES = frozenset({*FILE_POINTS, "rename", "mkdir"}.difference(_STREAMS_ONLY))
_POINT_OF = {
    "fdatasync": "fs.fsync",
    "fsync_directory": "fs.fsync",
    "list": "fs.listdir",
    "symlink": "fs.link",
}
_READS = ("read", "stat", "listdir")
_PYTHON = tuple(
    {os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, os.path.dirname(os.__file__))}
)
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/memfd:", *(f"{path}/" for path in _PYTHON if path != "/usr"))
_SYSTEM_SHARED = "/dev/shm/"

Proceed = Callable[[chain.Call], Any]


def install(session: Session, patches: Patches) -> None:
    """Let the faults of `session` strike on real files; `patches` undoes it.  Nothing without such faults."""
    if _NAMES.isdisjoint(session.planned.names("fs")):
        return
    handler = _Handler(session)
    if session.memory is not None:
        session.native = _native(session, session.memory)
    if session.native is not None:
        patches.set_up(session.native.disarm)
    installing.install(handler)
    patches.set_up(lambda: installing.uninstall(handler))


def _native(session: Session, memory: memoryview) -> Native | None:
    """The same faults below Python; None where this process was started without the library, or for a huge plan."""
    from faultkit.injection.files import native

    if native.loaded() is None:
        return None
    try:
        return native.Native(session.plan, session.matches_rank, memory, _SYSTEM, _names_of(session.place))
    except native.NoRoom:
        session.record("refused", fault=None, path="", why=native.NO_ROOM)
        return None


def missing(path: str, target: str | None = None) -> FileNotFoundError:
    """The error of a file that is not there."""
    names = (path,) if target is None else (path, None, target)
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), *names)


def quietly(act: Callable[[], None]) -> None:
    """`act`, of whose error the frames are dropped: the engine formats every frame, several times over."""
    try:
        act()
    except BaseException as injected:
        raise injected.with_traceback(None)  # noqa: B904


class _Handler:
    level = chain.FAULTS
    block_size: int | None = None

    def __init__(self, session: Session) -> None:
        self.session = session
        self.reads = not set(_READS).isdisjoint(session.planned.names("fs"))
        self.places = _names_of(session.place)
        self.globs = {fault.path for fault in session.plan if fault.layer == "fs" and fault.name in _NAMES}
        self.lists = "listdir" in session.planned.names("fs")  # whose globs mean the names in a directory
        self.keeps = any(f.name == "open" and f.action.spec.replaces == "version" for f in session.plan)

    def wants(self, path: str) -> bool:
        if any(glob != ANY and matches(glob, path) for glob in self.globs):
            return True
        if self.places and not self.lists:
            return ANY in self.globs and self._is_inside(path)
        is_own = path.startswith(_SYSTEM) and not path.startswith(_SYSTEM_SHARED)
        return (ANY in self.globs or self.lists) and not (is_own or path.endswith((".py", ".pyc")))

    def _is_inside(self, *paths: str) -> bool:
        return any(path == place or path.startswith(place + "/") for path in paths for place in self.places)

    def _is_elsewhere(self, call: chain.Call) -> bool:
        """Whether it is no file that a fault without a path means."""
        return bool(self.places) and not self._is_inside(call.path, call.target)

    def __call__(self, call: chain.Call, proceed: Proceed) -> Any:
        session, point = self.session, _POINT_OF.get(call.kind, f"fs.{call.kind}")
        if session.closed or session.threads.is_inside(PEEKING):
            return proceed(call)
        if call.kind == "open":
            session.threads.raw_opened()
        if call.kind == "mkdir":
            session.recovery.expect_directory(call.path)
        if self.keeps:
            self._keep(call)
        if point not in session.planned.points or session.threads.is_inside(point):
            return self._done(call, proceed(call), point)
        if call.kind == "list":
            return self._list(call, proceed)
        reads = call.kind == "open" and _reads_file(call)
        paths = tuple(filter(None, (call.path, call.target)))
        calls = session.enter((point,), paths, reads, self._is_elsewhere(call))
        if not calls:
            return self._done(call, proceed(call), point)
        try:
            changes = self._before(calls, call)
        except BaseException:
            if call.kind == "close":
                proceed(call)
            raise
        do = getattr(self, f"_{call.kind}", self._any)
        result = self._done(call, do(call, proceed, changes), point)
        try:
            quietly(lambda: session.fire_all(calls, "after", call.path, _opened(call), call.target))
        except BaseException:
            if call.kind == "open":  # whoever asked for the file is not given it, and cannot close it
                handles.forget(result)
                posix.close(result)
            raise
        return result

    def _done(self, call: chain.Call, result: Any, point: str) -> Any:
        self.session.recovery.record_recovery(point, call.path, _opened(call))
        return result

    def _before(self, calls: Calls, call: chain.Call) -> list[Match]:
        """Perform what happens before the call; gives the faults that take its place, or change it."""
        session, changes = self.session, []
        for match in session.matching(calls, "before"):
            if match[1].action.replaces_call:
                changes.append(match)
            else:
                opened = _opened(call)
                quietly(
                    functools.partial(
                        session.fire, match, session.threads.step, call.path, opened, call.target
                    )
                )
        return changes

    def _strike(self, match: Match, call: chain.Call) -> None:
        self.session.record_fired(match, self.session.threads.step, call.path, _opened(call), call.target)

    # -- what takes the place of an operation, by its kind --------------------------------------

    def _any(self, call: chain.Call, proceed: Proceed, changes: list[Match]) -> Any:
        for match in changes:
            replaces = match[1].action.spec.replaces
            if replaces == "absent":
                self._strike(match, call)
                raise missing(call.path, call.target if call.kind == "rename" else None)
            if replaces == "nothing":
                self._strike(match, call)
                return call.offset if call.kind == "truncate" else None
        return proceed(call)

    def _open(self, call: chain.Call, proceed: Proceed, changes: list[Match]) -> Any:
        if any(match[1].action.spec.replaces == "absent" for match in changes):
            return self._any(call, proceed, changes)
        descriptor = proceed(call)
        for match in changes:
            content = _content_of(descriptor)
            seen = self._view(match, call.path, content)
            if seen is not None:
                self._strike(match, call)
                _show(descriptor, seen)
                handles.register(descriptor, call.path, call.flags, *chain.chain_of(call.path))
        return descriptor

    def _view(self, match: Match, path: str, content: bytes) -> bytes | None:
        older = functools.partial(self.session.versions.older, path, content)
        folder = os.path.dirname(path)
        return opened_view(
            match[1].action, content, older, lambda name: _content_at(os.path.join(folder, name))
        )

    def _read(self, call: chain.Call, proceed: Proceed, changes: list[Match]) -> Any:
        count = proceed(call)
        for match in changes:
            if not count:
                break
            action = match[1].action
            if action.spec.replaces == "part":
                kept = max(1, min(int(action.get("bytes", (count + 1) // 2)), count))  # type: ignore[arg-type]
                if kept == count or call.offset < 0:
                    continue
                self._strike(match, call)
                if "pread" not in call.function:
                    posix.lseek(call.descriptor, call.offset + kept, os.SEEK_SET)
                count = kept
            else:
                seen = altered(action, bytes(call.buffer[:count]))
                if seen is not None:
                    self._strike(match, call)
                    call.buffer[:count] = seen
        return count

    def _write(self, call: chain.Call, proceed: Proceed, changes: list[Match]) -> Any:
        data, reported = memoryview(call.data), None
        for match in changes:
            index, fault, _, _ = match
            made = writing(fault.action, data, functools.partial(self._room, index, fault))
            if made is None:
                continue
            self._strike(match, call)
            count = made.count
            if made.lost:
                before = _content_of(call.descriptor, _place_of(call) + len(made.data), made.lost)
                data = memoryview(bytes(made.data) + before.ljust(made.lost, b"\0"))
            else:
                data = made.data
            if made.ends:
                return self._end(fault, call, proceed, data, made.fills)
            reported = count if reported is None else min(count, reported)
        if reported is None:
            return proceed(call)
        proceed(call.replace(data=data))
        return reported

    def _room(self, index: int, fault: Fault, wanted: int) -> int:
        return self.session.take_room(index, int(fault.action["bytes"]), wanted)

    def _end(self, fault: Fault, call: chain.Call, proceed: Proceed, data: memoryview, fills: bool) -> int:
        """What is left of the data is written; then the write fails, or the process dies."""
        if len(data):
            written = proceed(call.replace(data=data))
            if fills:
                return written  # as a real disk does: the next write is the one that fails
        error = fault.action.error
        if error is None:
            perform(KILL, str(fault))
            raise AssertionError(f"{fault} did not end the process")
        raise build(error, str(fault)).with_traceback(None)

    def _list(self, call: chain.Call, proceed: Proceed) -> Any:
        session, names = self.session, proceed(call)
        shown = tuple(f"{call.path}/{os.fsdecode(name)}" for name in names)
        calls = session.enter(("fs.listdir",), shown, elsewhere=self._is_elsewhere(call))
        for match in self._before(calls, call) if calls else ():
            hidden = [name for name in names if match[1].matches_path(f"{call.path}/{os.fsdecode(name)}")]
            if hidden:
                self._strike(match, call)
                names = [name for name in names if name not in hidden]
        quietly(lambda: session.fire_all(calls, "after", call.path))
        return names

    def _keep(self, call: chain.Call) -> None:
        """Remember what is there before it is overwritten, replaced or removed, and what is read."""
        gone = call.target if call.kind == "rename" else call.path
        if call.kind in ("open", "rename", "unlink") and any(matches(glob, gone) for glob in self.globs):
            self.session.versions.remember(gone, _content_at(gone))


def _names_of(place: str) -> tuple[str, ...]:
    """The names under which a program may know the directory `place`; none where it is empty."""
    return tuple({place, os.path.realpath(place)}) if place else ()


def _reads_file(call: chain.Call) -> bool:
    if call.flags & os.O_ACCMODE != os.O_RDONLY or call.flags & os.O_DIRECTORY:
        return False
    try:
        return stat.S_ISREG(posix.stat(call.path).st_mode)
    except (OSError, ValueError):
        return False


def _opened(call: chain.Call) -> str:
    """What the file of the call is open for, or was to be."""
    flags = call.flags if call.kind == "open" or call.handle is None else call.handle.flags
    return {os.O_RDONLY: "r", os.O_WRONLY: "w"}.get(flags & os.O_ACCMODE, "rw")


def _place_of(call: chain.Call) -> int:
    """Where in the file a write will lie."""
    if call.handle is not None and call.handle.flags & os.O_APPEND:
        return posix.fstat(call.descriptor).st_size
    return call.offset if call.offset >= 0 else posix.lseek(call.descriptor, 0, os.SEEK_CUR)


def _content_at(path: str) -> bytes | None:
    """What the file holds; None where there is none."""
    try:
        if not stat.S_ISREG(posix.stat(path).st_mode):
            return None
        descriptor = posix.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _content_of(descriptor)
    finally:
        posix.close(descriptor)


def _content_of(descriptor: int, offset: int = 0, length: int | None = None) -> bytes:
    """What an open file holds there, also where it is open for writing only; less where it ends before."""
    descriptor = posix.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        wanted = posix.fstat(descriptor).st_size - offset if length is None else length
        pieces = []
        while wanted > 0 and (piece := posix.pread(descriptor, wanted, offset)):
            pieces.append(piece)
            offset += len(piece)
            wanted -= len(piece)
        return b"".join(pieces)
    finally:
        posix.close(descriptor)


def _show(descriptor: int, content: bytes) -> None:
    """From now on `descriptor` stands for an anonymous file that holds `content`."""
    anonymous = posix.memfd_create("faultkit-view", posix.MFD_CLOEXEC)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[posix.write(anonymous, rest) :]
        posix.lseek(anonymous, 0, os.SEEK_SET)
        posix.dup2(anonymous, descriptor, False)
    finally:
        posix.close(anonymous)
