"""Faults of layer ``fs`` below Python: in C++ and Rust code, and in the children that a rank forks.

The library that ranks are started with (`faultkit.interception.shim`, `shim_faults.h`) stands before the file functions
of the C library.  `arm` gives it the plan's faults of files, as a table in the memory that the rank shares with its
parent and with its children; it acts there by itself, and writes what fires where the parent reads it, so that nothing
of Python is asked by a thread that writes a file.  What the interpreter itself calls is left to
`faultkit.injection.files.raw`; both count calls in the one table, so that ``#2`` is the second call, whoever makes it.
In a forked child the library sees Python's calls, too, since no plan is armed in Python there.

Guarantees: the same faults at the same points as in Python, save what native code cannot be given: an exception without
an error number, a remembered old version.  Of that the rank records once that it was refused, and why.  Not covered:
what a forked child that then runs another program does, and listings.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from faultkit.plan import Fault, FaultPlan
from faultkit.plan.actions import Action
from faultkit.plan.file_filters import ANY, CHILD
from faultkit.plan.points import NATIVE_POINTS

__all__ = ["NO_ROOM", "NUMBERED_ACTIONS", "Native", "NoRoom", "loaded", "why_refused"]

# In the order of `enum action` in `interception/shim_faults.h`; those from "full" to "stale" change data.
NUMBERED_ACTIONS = (
    "raise", "delay", "hang", "hang(native)", "stop", "exit", "kill", "segfault", "limit", "full", "short", "torn",
    "lie", "flip", "zero", "cut", "stale", "missing", "refused",
)  # fmt: skip
_ROLES = {ANY: 0, "main": 1, "helper": 2, CHILD: 3}
_FOR_ALL_CALLS = -1
_OPENED = {1: "r", 2: "w", 3: "rw"}
NO_ROOM = (
    "Python came by no call of it, and a plan of more than 256 different files or 1024 faults of files does not reach "
    "native code and forked children"
)
_encode = msgspec.msgpack.Encoder().encode
_library: Any = None


def loaded() -> Any:
    """The library, where this process was started with it, else None."""
    global _library
    if _library is None:
        found = ctypes.CDLL(None)
        _library = found if hasattr(found, "faultkit_table") else False
        if _library:
            _declare(_library)
    return _library or None


def why_refused(fault: Fault) -> str:
    """Why native code cannot be given the action of `fault`; empty where it can."""
    action = fault.action
    if action.raises and action.error_number is None:
        return (
            f"native code can be given an error number, not {action['exception']}; "
            "raise(OSError, EIO) has one; torch.save and safetensors.save_file are points where anything can be raised"
        )
    return action.in_native.reason if action.in_native is not None else ""


class NoRoom(Exception):
    """The table of the library has no room for the plan."""


class Native:
    """The plan of one session in the library's table; `matches_rank` says of a fault whether it means this rank now.

    `memory` is `RankMemory.native`.  A fault without a path means files beneath `included`, or, without these, all but
    those whose path begins with one of `excluded`.  Raises NoRoom.
    """

    def __init__(
        self,
        plan: FaultPlan,
        matches_rank: Callable[[int, Fault], bool],
        memory: memoryview,
        excluded: tuple[str, ...],
        included: tuple[str, ...] = (),
    ) -> None:
        from faultkit.processes import memory as layout
        from faultkit.runs.records import records

        library = loaded()
        self._library, self._memory = library, memory
        self._plan, self._matches_rank = plan, matches_rank
        self._sites: dict[str, int] = {}
        self._faults: dict[int, int] = {}  # index in the plan -> in the table
        self._read = 0
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        names, places_meant = (
            "\n".join(paths).encode("utf-8", "surrogateescape") for paths in (excluded, included)
        )
        main = threading.get_native_id()
        if library.faultkit_table(start, layout.NATIVE_LOG_BYTES, len(memory), main, names, places_meant):
            raise NoRoom
        self._log_of = layout.native_log
        self._records = records
        places = 0
        for index, fault in enumerate(plan):
            if fault.layer == "fs" and fault.name in NATIVE_POINTS:
                self._faults[index] = self._add(index, fault)
                places |= 1 << NATIVE_POINTS.index(fault.name)
        self.aim()
        library.faultkit_arm(places)

    def _add(self, index: int, fault: Fault) -> int:
        key = f"{fault.site}{' reading' * fault.reads}"
        if key not in self._sites:
            glob = "" if fault.path == ANY else fault.path
            number = self._library.faultkit_site(
                NATIVE_POINTS.index(fault.name), _text(glob), _ROLES[fault.thread], fault.reads
            )
            self._sites[key] = _placed(number)
        action = fault.action
        why = why_refused(fault)
        name = "hang(native)" if action.holds == "interpreter" else action.name
        if why and not (action.in_native and action.in_native.of_children):
            name = "refused"
        low, _, high = fault.calls.partition("-")
        last = _FOR_ALL_CALLS if fault.calls.endswith("-") else int(high or low)
        numbers = _arguments(action)
        seconds = action.duration_seconds
        where = {"site": fault.site} if fault.site != fault.point else {}
        constant = {"point": fault.point, "native": True, **where}
        fired = _template("fired", {"fault": index, "moment": fault.moment, "step": None, **constant})
        called = _template("called", {"ok": True, **constant})
        told = _template("refused", {"fault": index, "why": why, **constant})
        return _placed(
            self._library.faultkit_fault(
                self._sites[key], fault.moment == "after", NUMBERED_ACTIONS.index(name), action.error_number or -1,
                action.is_repeated, int(low), last, *numbers,
                -1.0 if seconds is None else seconds, _text(str(action.get("path") or "")),
                fired, len(fired), called, len(called), told, len(told),
            )
        )  # fmt: skip

    def aim(self) -> None:
        """Tell the library which faults are this rank's, since the coordinator may be another now."""
        for index, number in self._faults.items():
            self._library.faultkit_aim(number, self._matches_rank(index, self._plan.faults[index]))

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that the library counts, by their keys."""
        return tuple(self._sites)

    def count(self, key: str) -> int | None:
        """The number of one more call of a site, made by Python; None for a site that only Python has."""
        site = self._sites.get(key)
        return None if site is None else self._library.faultkit_count(site)

    def take(self, index: int, wanted: int) -> int | None:
        """How many of `wanted` bytes still fit on the full disk of a fault, which are then taken."""
        number = self._faults.get(index)
        return None if number is None else self._library.faultkit_take(number, wanted)

    def step(self, change: int) -> None:
        """This thread enters a step of the engine (1), or leaves it (-1)."""
        self._library.faultkit_step(change)

    def spend(self, spent: bool) -> None:
        """No fault fires any more, or they do again."""
        self._library.faultkit_spend(spent)

    def disarm(self) -> None:
        self._library.faultkit_disarm()

    def fired(self) -> list[dict[str, Any]]:
        """What fired since the last time that somebody asked, as the data of ``fired`` events."""
        log = self._log_of(self._memory, self._read)
        if not log:
            return []
        found = self._records(log)
        self._read += sum(length for length in _lengths(log, len(found)))
        return [
            {**data, "opened": _OPENED.get(data["opened"], "w")} for _, kind, data in found if kind == "fired"
        ]


def _lengths(log: bytes, count: int) -> list[int]:
    lengths, at = [], 0
    for _ in range(count):
        size = int.from_bytes(log[at : at + 4], "little") + 12
        lengths.append(size)
        at += size
    return lengths


def _arguments(action: Action) -> tuple[int, int]:
    """The first two whole numbers of an action, in the order of the catalogue; -1 for one that it does not have."""
    numbers = [
        -1
        if value is None
        else signal.Signals[str(value)].value
        if parameter.type == "signal"
        else int(value)
        for parameter in action.spec.parameters
        if parameter.type in ("integer", "signal")
        for value in (action.get(parameter.name),)
    ]
    first, second, *_ = [*numbers, -1, -1]
    return first, second


def _placed(number: int) -> int:
    if number < 0:
        raise NoRoom
    return number


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _template(kind: str, constant: dict[str, Any]) -> bytes:
    """A record of the kind up to the fields that the library adds: call, path, thread, opened, child."""
    count = len(constant) + 5
    header = bytes([0x80 | count]) if count < 16 else b"\xde" + count.to_bytes(2, "big")
    return b"\x92" + _encode(kind) + header + b"".join(_encode(k) + _encode(v) for k, v in constant.items())


def _declare(library: Any) -> None:
    integer, long, text, size = ctypes.c_int, ctypes.c_int64, ctypes.c_char_p, ctypes.c_uint64
    library.faultkit_table.argtypes = [ctypes.c_void_p, size, size, integer, text, text]
    library.faultkit_site.argtypes = [integer, text, integer, integer]
    library.faultkit_fault.argtypes = [
        *[integer] * 5, *[long] * 4, ctypes.c_double, text, text, integer, text, integer, text, integer,
    ]  # fmt: skip
    library.faultkit_count.argtypes, library.faultkit_count.restype = [integer], long
    library.faultkit_take.argtypes, library.faultkit_take.restype = [integer, long], long
    library.faultkit_matches.argtypes = [text, text]
    for name in ("aim", "arm", "disarm", "spend", "step"):
        getattr(library, f"faultkit_{name}").restype = None
