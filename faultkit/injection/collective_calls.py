"""The sequence of collectives that this rank calls, told as events: the evidence of the check ``parity``.

Guarantees: each call of a collective of a process group is recorded before it is made: its group, its name, root,
reduce operation, type and number of elements where these must be the same on all members, and two lines of code: of
whoever wrote the program, and of the engine that the program called.  Not covered: messages between two ranks, calls
that C++ makes without Python (functional collectives, reducers of DistributedDataParallel), and what comes after the
first `CALLS_MAX` calls of a rank, which is told.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
import zlib
from types import CodeType
from typing import Any

from faultkit import own_frames
from faultkit.hooks import collectives
from faultkit.hooks.distributed_calls import BLOCKING, COLLECTIVE, DistributedCall
from faultkit.injection.session import Session
from faultkit.interception.patches import Patches

__all__ = ["install"]

CALLS_MAX = 2_000
TENSORS_NAMED_MAX = 4
FRAMES_MAX = 64

# Of which argument the number of elements is the same on every member; of the others it need not be.
_SAME_SIZE = {
    "_allgather_base": 1,
    "_reduce_scatter_base": 0,
    "all_gather_single": 1,
    "allgather": 0,
    "allreduce": 0,
    "allreduce_coalesced": 0,
    "broadcast": 0,
    "gather": 1,
    "reduce": 0,
    "reduce_scatter": 1,
    "reduce_scatter_single": 0,
    "scatter": 0,
}
_PLUMBING = tuple(
    os.path.join("torch", *parts)
    for parts in (
        ("distributed", "distributed_c10d.py"),
        ("distributed", "c10d_logger.py"),
        ("distributed", "checkpoint", "utils.py"),
        ("distributed", "checkpoint", "logger.py"),
        ("distributed", "checkpoint", "api.py"),
        ("utils", "_contextlib.py"),
    )
)
_STANDARD = (os.path.join(os.path.dirname(os.__file__), ""), "<")
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_NOBODYS, _ENGINES, _USERS = range(3)


def install(session: Session, patches: Patches) -> None:
    """Record the calls of every rank that `session` stands for, until `patches` is undone."""
    listener = _Calls(session)
    collectives.subscribe(listener)
    _listening.add(listener)
    patches.set_up(lambda: collectives.unsubscribe(listener))


class _Calls:
    """Notes are whether the call is one of its own, and not a part of another."""

    kinds = frozenset({COLLECTIVE, BLOCKING})

    def __init__(self, session: Session) -> None:
        self.session = session
        self._thread = threading.local()
        self._lines: dict[CodeType, int] = {}

    def begins(self, call: DistributedCall, owner: Any, arguments: tuple[Any, ...]) -> bool:
        if getattr(self._thread, "is_inside", False):
            return False
        self._thread.is_inside = True
        session = self.session
        if not session.closed:
            count = session.collective_count = session.collective_count + 1
            if count <= CALLS_MAX:
                self._tell(session, call, owner, arguments)
            elif count == CALLS_MAX + 1:
                session.record("collectives_cut", count=CALLS_MAX)
        return True

    def ends(self, call: DistributedCall, note: bool, is_ok: bool) -> None:
        if note:
            self._thread.is_inside = False

    def waits(self, call: DistributedCall, note: bool) -> None:
        pass

    def waited(self, call: DistributedCall, note: bool, is_ok: bool) -> None:
        pass

    def _tell(self, session: Session, call: DistributedCall, owner: Any, arguments: tuple[Any, ...]) -> None:
        line, engine = self._lines_of_code()
        data: dict[str, Any] = {"group": call.group, "call": call.name, "line": line, "engine": engine}
        if call.group not in session.groups_told:
            session.groups_told.add(call.group)
            data["ranks"] = _members(owner)
        if call.peer >= 0:
            data["root"] = call.peer
        if label := collectives.label_of_thread():
            data["label"] = label
        if threading.get_ident() != session.threads.main:
            data["helper"] = True
        with contextlib.suppress(Exception):  # of arguments that the call itself will refuse
            data |= _what(call.name, arguments)
        session.record("collective", **data)

    def _lines_of_code(self) -> tuple[str, str]:
        """The innermost line of the program, and the innermost of an engine that it called; "" where there is none."""
        frame: Any = sys._getframe(2)
        engine = ""
        for _ in range(FRAMES_MAX):
            if frame is None:
                break
            whose = self._lines.get(frame.f_code)
            if whose is None:
                whose = self._lines[frame.f_code] = _whose(frame.f_code.co_filename)
            if whose == _USERS:
                return _told(frame), engine
            if whose == _ENGINES and not engine:
                engine = _told(frame)
            frame = frame.f_back
        return "", engine


def _whose(file: str) -> int:
    if file.startswith(own_frames.WORK):
        return _USERS
    if file.startswith(own_frames.ROOT) or file.endswith(_PLUMBING):
        return _NOBODYS
    if any(part in file for part in _PACKAGES):
        return _ENGINES
    return _NOBODYS if file.startswith(_STANDARD) else _USERS


def _told(frame: Any) -> str:
    code = frame.f_code
    return f"{'/'.join(code.co_filename.split(os.sep)[-2:])}:{frame.f_lineno} in {code.co_name}"


def _members(group: Any) -> list[int]:
    import torch.distributed as dist

    try:
        return list(dist.get_process_group_ranks(group))
    except Exception:
        return []


def _what(name: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """What else must be the same on every member: the operation, the type, the number of elements."""
    found: dict[str, Any] = {}
    for one in arguments if "reduce" in name else ():
        operation = getattr(one, "reduceOp", None)
        if operation is not None:
            found["op"] = str(getattr(operation, "op", operation)).rpartition(".")[2]
    place = _SAME_SIZE.get(name)
    tensors = _flat(arguments[place]) if place is not None and len(arguments) > place else []
    if tensors:
        counts = [int(tensor.numel()) for tensor in tensors]
        shown = ", ".join(map(str, counts[:TENSORS_NAMED_MAX]))
        if len(counts) > TENSORS_NAMED_MAX:
            digest = zlib.crc32(repr(counts).encode())
            shown += f" and {len(counts) - TENSORS_NAMED_MAX} more tensors, {digest:08x}"
        found["elements"] = f"{str(tensors[0].dtype).removeprefix('torch.')}[{shown}]"
    return found


def _flat(given: Any) -> list[Any]:
    if isinstance(given, list | tuple):
        return [tensor for one in given for tensor in _flat(one)]
    return [given] if hasattr(given, "numel") else []


_listening: weakref.WeakSet[_Calls] = weakref.WeakSet()


def _forget() -> None:
    """A forked process is no part of its rank: what it calls is not told as the rank's."""
    for listener in list(_listening):
        collectives.unsubscribe(listener)


os.register_at_fork(after_in_child=_forget)
