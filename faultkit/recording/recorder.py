"""The Python recorder of one process: the innermost handler, which writes what really happened to a spool.

Guarantees: between `start` and `stop` every operation under the root is in the spool when its function returns: what
a write was asked for and did not do is not there, what failed is there with its error.  Nothing of it is left
installed afterwards.  Not covered: what C, C++ and Rust code does to files by itself.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from faultkit.interception import installing
from faultkit.interception.chain import RECORDER, Call
from faultkit.recording import source_lines, sync_events
from faultkit.recording.merging import LINES_ONLY
from faultkit.recording.spool import RawOperation, Spool

__all__ = ["Recorder"]

_lstat = os.lstat
_fstat = os.fstat
_stat = os.stat
_lseek = os.lseek
_native_id = threading.get_native_id
_BY_NAME = frozenset({"rename", "link", "unlink", "rmdir", "truncate"})  # the file is that of the name before
# Where a write without an offset lay is asked after it, so nobody else may move that place meanwhile.  Of the open file
# descriptions some share a lock; a signal handler that writes comes in between all the same.
_place_locks = [threading.RLock() for _ in range(64)]
_MADE = frozenset({"mkdir", "symlink"})  # the file is that of the name after


class Recorder:
    """Records what this process does under `roots`, several names of one directory; see `Handler`."""

    level = RECORDER
    reads = False

    def __init__(self, roots: tuple[str, ...], spool: Spool, block_size: int | None = None) -> None:
        self.block_size = block_size
        self._roots = roots
        self._inside = tuple(root.rstrip("/") + "/" for root in roots)
        self._spool = spool
        self._lines_only = False
        self._watchers: list[Callable[[], None]] = []

    def start(self, rank: int, *, lines_only: bool = False, collectives: bool = True) -> None:
        """Record from now on, as `rank` (-1: unknown); the calling thread is the rank's main thread.

        With `lines_only` the preloaded library records the operations, and their content is not kept here.
        """
        self._lines_only = lines_only
        self.event("begin", number=rank, name=LINES_ONLY if lines_only else "")
        installing.install(self)
        self._watchers = [sync_events.watch_threads(self.event)]
        if collectives:
            self._watchers.append(sync_events.watch_collectives(self.event))

    def stop(self) -> None:
        """Record no more and put everything back."""
        while self._watchers:
            self._watchers.pop()()
        installing.uninstall(self)
        self._spool.close()

    def wants(self, path: str) -> bool:
        return path.startswith(self._inside) or path in self._roots

    def note(self, sentence: str) -> None:
        """Keep a sentence for the recording's notes."""
        self.event("note", name=sentence)

    def synced(self, start_ns: int) -> None:
        """Record that everything was synced; the name is that of the root, since it concerns all beneath."""
        where = source_lines.lines_of(sys._getframe(2))
        self.event(
            "sync",
            name="sync",
            path=self._roots[0],
            start_ns=start_ns,
            end_ns=time.monotonic_ns(),
            where=where,
        )

    def event(self, kind: str, **fields: Any) -> None:
        """Record what is no call on a file; `start_ns` and `end_ns` are now where they are not given."""
        now = time.monotonic_ns()
        fields.setdefault("start_ns", now)
        fields.setdefault("end_ns", now)
        raw = RawOperation(kind=kind, process=os.getpid(), thread=_native_id(), **fields)
        self._append(msgspec.structs.astuple(raw))

    def refused(self, call: Call, error: OSError) -> None:
        """An outer handler failed the call before it came here."""
        self._record(call, time.monotonic_ns(), (0, 0), None, error)

    def __call__(self, call: Call, proceed: Callable[[Call], Any]) -> Any:
        call.reached.append(True)
        if call.kind in ("read", "list", "stat"):
            return proceed(call)
        identity = (0, 0)
        if call.handle is None and call.kind in _BY_NAME:
            identity = _identity(call.path, _stat if call.kind == "truncate" else _lstat)
        if call.kind == "write" and call.offset < 0 and call.handle is not None:
            with _place_locks[call.handle.number % len(_place_locks)]:
                return self._carry_out(call, proceed, identity)
        return self._carry_out(call, proceed, identity)

    def _carry_out(self, call: Call, proceed: Callable[[Call], Any], identity: tuple[int, int]) -> Any:
        start_ns = time.monotonic_ns()
        try:
            result = proceed(call)
        except OSError as error:
            self._record(call, start_ns, identity, None, error)
            raise
        self._record(call, start_ns, identity, result, None)
        return result

    def _record(
        self, call: Call, start_ns: int, identity: tuple[int, int], result: Any, error: OSError | None
    ) -> None:
        end_ns = time.monotonic_ns()
        kind, handle, offset, data = call.kind, call.handle, max(call.offset, 0), b""
        name = "" if error is None else errno.errorcode.get(error.errno or 0, type(error).__name__)
        if handle is not None:
            identity = handle.identity
        elif kind in _MADE and not name:
            identity = _identity(call.path, _lstat)
        if kind == "write":
            if result is None:
                name = name or "EAGAIN"
            else:
                data = call.data if result == len(call.data) else call.data[:result]
                offset = self._place(call, result)
        self._append(
            (
                kind,
                os.getpid(),
                _native_id(),
                start_ns,
                end_ns,
                call.path,
                call.target,
                *identity,
                handle.number if handle is not None else -1,
                call.flags,
                offset,
                name,
                source_lines.lines_of(sys._getframe(2)),
            ),
            b"" if self._lines_only else data,
        )

    def _place(self, call: Call, count: int) -> int:
        """Where the written bytes lie in the file."""
        if call.offset < 0:
            return _lseek(call.descriptor, 0, os.SEEK_CUR) - count
        if call.handle is not None and call.handle.flags & os.O_APPEND:
            return _fstat(call.descriptor).st_size - count
        return call.offset

    def _append(self, operation: tuple[Any, ...], data: Any = b"") -> None:
        try:
            self._spool.append(operation, data)
        except UnicodeEncodeError:  # a name that is no text, which the system allows
            for name in operation:
                if name != (told := _as_text(name)):
                    self.note(f"the name '{told}' is no text in UTF-8, and a recording cannot hold it")
            self._spool.append(tuple(map(_as_text, operation)), data)


def _new_locks_in_child() -> None:
    _place_locks[:] = [threading.RLock() for _ in _place_locks]


os.register_at_fork(after_in_child=_new_locks_in_child)


def _as_text(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _identity(path: str, ask: Callable[[str], os.stat_result]) -> tuple[int, int]:
    try:
        state = ask(path)
    except OSError:
        return 0, 0
    return state.st_dev, state.st_ino
