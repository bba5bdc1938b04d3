"""The memory that a rank shares with the parent: its event log and the state of its threads.

A rank writes here without a system call and without waking anybody, and what it wrote survives its death
in the next instruction, because the pages belong to both processes.  The parent reads whenever it likes: a
record counts only once the committed length says so.  It is an anonymous file (memfd), so a full /dev/shm
does not hurt it and nothing is left when the last process ends.  One writer process per memory, whose threads
share a lock; save of the log of its children, of which each locks the file, so that a lock goes with who held it.

Layout: 64 bytes of header, `THREAD_SLOT_COUNT` thread slots, `GROUP_SLOT_COUNT` group slots, the log, a second log,
with a table behind it, of the faults in native code and forked children, which the preloaded library writes
(`faultkit.injection.files.native`), and a third one of what child processes record (`faultkit.injection.children`).
Not covered: growth.  A log that is full counts what it dropped, and readers must ask `dropped`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from typing import Any, NamedTuple

import msgspec

from faultkit.runs.records import RECORD

__all__ = ["RankMemory", "ThreadState", "create_memory", "plain"]

MEMORY_BYTES = 4 << 20  # pages are allocated when touched
NATIVE_LOG_BYTES = 1 << 20
NATIVE_BYTES = NATIVE_LOG_BYTES + (1 << 20)
NATIVE_HEADER = struct.Struct("=QQ")  # taken of its log, records that found no room
CHILDREN_START = MEMORY_BYTES + NATIVE_BYTES
CHILDREN_BYTES = 1 << 20
CHILDREN_HEADER = struct.Struct(
    "=QQQQ"
)  # committed, dropped, number of the run, whether it goes on without faults
TOTAL_BYTES = CHILDREN_START + CHILDREN_BYTES
HEADER = struct.Struct("=QQii")  # committed, dropped, threads alive, threads active
THREAD_SLOT_COUNT = 32
THREAD_SLOT = struct.Struct(
    "=QIiQQ24s40s40s"
)  # native id, state, peer, sequence, since ns, kind, group, label
GROUP_SLOT_COUNT = 128
GROUP_SLOT = struct.Struct("=40sQQQQ")  # name, entered, left, sent, received
THREADS_START = 64
GROUPS_START = THREADS_START + THREAD_SLOT_COUNT * THREAD_SLOT.size
LOG_START = GROUPS_START + GROUP_SLOT_COUNT * GROUP_SLOT.size

_encode = msgspec.msgpack.Encoder().encode


class ThreadState(NamedTuple):
    """A thread that is inside a communication call: which, of which group, since when."""

    native_id: int
    kind: str
    group: str
    label: str
    sequence: int
    peer: int
    since_ns: int


class GroupState(NamedTuple):
    name: str
    entered: int
    left: int
    sent: int
    received: int


def create_memory() -> int:
    """A descriptor of fresh, zeroed shared memory for one rank."""
    descriptor = os.memfd_create("faultkit-rank", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, TOTAL_BYTES)
    return descriptor


class RankMemory:
    """A mapping of one rank's memory, for its writer (on the rank) or its reader (in the parent)."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, TOTAL_BYTES)
        self.descriptor = descriptor  # as it was given: whoever gave it may have closed it since
        self._lock = threading.Lock()
        self._groups: dict[str, int] = {}
        self._slots: dict[int, int] = {}

    def close(self) -> None:
        self._map.close()

    # -- the rank's side -------------------------------------------------------------------------

    def count_threads(self, alive: int, active: int) -> None:
        """Add to the numbers of threads, besides the main one, that live and that have something to do."""
        with self._lock:
            counts = struct.unpack_from("=ii", self._map, 16)
            struct.pack_into("=ii", self._map, 16, counts[0] + alive, counts[1] + active)

    def append(self, kind: str, data: dict[str, Any]) -> None:
        """Add a record; it is visible to the parent, and safe from this process's death, on return."""
        try:
            body = _encode((kind, data))
        except (TypeError, ValueError):  # a lone surrogate in a message, an object that is no plain value
            body = _encode((kind, plain(data)))
        now = time.monotonic_ns()
        with self._lock:
            (committed, dropped) = struct.unpack_from("=QQ", self._map, 0)
            start = LOG_START + committed
            end = start + RECORD.size + len(body)
            if end > MEMORY_BYTES:
                struct.pack_into("=Q", self._map, 8, dropped + 1)
                return
            RECORD.pack_into(self._map, start, len(body), now)
            self._map[start + RECORD.size : end] = body
            struct.pack_into("=Q", self._map, 0, end - LOG_START)

    def thread_enters(
        self, native_id: int, kind: str, group: str, label: str, sequence: int, peer: int
    ) -> None:
        with self._lock:
            slot = self._slots.get(native_id)
            if slot is None:
                taken = set(self._slots.values())
                slot = next((i for i in range(THREAD_SLOT_COUNT) if i not in taken), None)
                if slot is None:
                    return
                self._slots[native_id] = slot
            THREAD_SLOT.pack_into(
                self._map,
                THREADS_START + slot * THREAD_SLOT.size,
                native_id,
                1,
                peer,
                sequence,
                time.monotonic_ns(),
                kind.encode()[:24],
                group.encode()[:40],
                label.encode()[:40],
            )

    def thread_leaves(self, native_id: int) -> None:
        with self._lock:
            slot = self._slots.pop(native_id, None)
            if slot is not None:
                struct.pack_into("=I", self._map, THREADS_START + slot * THREAD_SLOT.size + 8, 0)

    def count(self, group: str, *, entered: int = 0, left: int = 0, sent: int = 0, received: int = 0) -> int:
        """Add to the group's counters; returns how many of its collectives this rank has entered."""
        with self._lock:
            slot = self._groups.get(group)
            if slot is None:
                slot = len(self._groups)
                if slot >= GROUP_SLOT_COUNT:
                    return 0
                self._groups[group] = slot
                GROUP_SLOT.pack_into(
                    self._map, GROUPS_START + slot * GROUP_SLOT.size, group.encode()[:40], 0, 0, 0, 0
                )
            at = GROUPS_START + slot * GROUP_SLOT.size
            name, *counts = GROUP_SLOT.unpack_from(self._map, at)
            counts = [a + b for a, b in zip(counts, (entered, left, sent, received), strict=True)]
            GROUP_SLOT.pack_into(self._map, at, name, *counts)
            return counts[0]

    @property
    def native(self) -> memoryview:
        """The part that the preloaded library writes: its log of `NATIVE_LOG_BYTES`, and its table."""
        return memoryview(self._map)[MEMORY_BYTES:CHILDREN_START]

    # -- the side of a child of the rank ---------------------------------------------------------

    @property
    def run_number(self) -> int:
        """Which run of this rank it is: a child of an earlier one has nothing more to say."""
        return int(CHILDREN_HEADER.unpack_from(self._map, CHILDREN_START)[2])

    @property
    def is_disarmed(self) -> bool:
        """Whether the rank goes on without faults: then none strikes in its children either."""
        return bool(CHILDREN_HEADER.unpack_from(self._map, CHILDREN_START)[3])

    @is_disarmed.setter
    def is_disarmed(self, is_disarmed: bool) -> None:
        struct.pack_into("=Q", self._map, CHILDREN_START + 24, int(is_disarmed))

    def append_of_child(self, kind: str, data: dict[str, Any], run_number: int) -> None:
        """As `append`, from a process that the rank started in the run of that number; nothing in any other."""
        try:
            body = _encode((kind, data))
        except (TypeError, ValueError):
            body = _encode((kind, plain(data)))
        with self._lock:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, CHILDREN_START)
            try:
                committed, dropped, number, over = CHILDREN_HEADER.unpack_from(self._map, CHILDREN_START)
                start = CHILDREN_START + CHILDREN_HEADER.size + committed
                end = start + RECORD.size + len(body)
                if number != run_number:
                    return
                if end > TOTAL_BYTES:
                    CHILDREN_HEADER.pack_into(self._map, CHILDREN_START, committed, dropped + 1, number, over)
                    return
                RECORD.pack_into(self._map, start, len(body), time.monotonic_ns())
                self._map[start + RECORD.size : end] = body
                committed += RECORD.size + len(body)
                CHILDREN_HEADER.pack_into(self._map, CHILDREN_START, committed, dropped, number, over)
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, CHILDREN_START)

    def be_of_child(self) -> None:
        """In a process that was just forked: no thread of it holds the lock that one of its parent may have held."""
        self._lock = threading.Lock()

    # -- the parent's side -----------------------------------------------------------------------

    def clear_log(self) -> None:
        struct.pack_into("=QQ", self._map, 0, 0, 0)
        taken = min(self._native_taken(), NATIVE_LOG_BYTES)
        if taken:
            end = NATIVE_HEADER.size + taken
            self._map[MEMORY_BYTES : MEMORY_BYTES + end] = bytes(end)
        CHILDREN_HEADER.pack_into(self._map, CHILDREN_START, 0, 0, self.run_number + 1, 0)

    def thread_counts(self) -> tuple[int, int]:
        """How many threads besides the main one live, and how many of them have something to do."""
        return struct.unpack_from("=ii", self._map, 16)

    def dropped(self) -> int:
        return (
            struct.unpack_from("=Q", self._map, 8)[0]
            + NATIVE_HEADER.unpack_from(self._map, MEMORY_BYTES)[1]
            + CHILDREN_HEADER.unpack_from(self._map, CHILDREN_START)[1]
        )

    def committed(self) -> int:
        """A number that grows with the log."""
        return struct.unpack_from("=Q", self._map, 0)[0] + self._native_taken() + self._taken_by_children()

    def log(self) -> bytes:
        """The committed records, as bytes for `records`, those of children and of the library last."""
        own = struct.unpack_from("=Q", self._map, 0)[0]
        start = CHILDREN_START + CHILDREN_HEADER.size
        of_children = self._map[start : start + self._taken_by_children()]
        return self._map[LOG_START : LOG_START + own] + of_children + native_log(self.native)

    def _taken_by_children(self) -> int:
        return int(CHILDREN_HEADER.unpack_from(self._map, CHILDREN_START)[0])

    def _native_taken(self) -> int:
        return NATIVE_HEADER.unpack_from(self._map, MEMORY_BYTES)[0]

    def threads(self) -> list[ThreadState]:
        states = []
        for slot in range(THREAD_SLOT_COUNT):
            at = THREADS_START + slot * THREAD_SLOT.size
            native_id, state, peer, sequence, since_ns, kind, group, label = THREAD_SLOT.unpack_from(
                self._map, at
            )
            if state:
                states.append(
                    ThreadState(native_id, _text(kind), _text(group), _text(label), sequence, peer, since_ns)
                )
        return states

    def groups(self) -> list[GroupState]:
        states = []
        for slot in range(GROUP_SLOT_COUNT):
            name, *counts = GROUP_SLOT.unpack_from(self._map, GROUPS_START + slot * GROUP_SLOT.size)
            if not name[0]:
                break
            states.append(GroupState(_text(name), *counts))
        return states


def native_log(native: memoryview, start: int = 0) -> bytes:
    """The records of the library's log from `start` on; `native` is `RankMemory.native`."""
    taken = min(NATIVE_HEADER.unpack_from(native)[0], NATIVE_LOG_BYTES - NATIVE_HEADER.size)
    return bytes(native[NATIVE_HEADER.size + start : NATIVE_HEADER.size + taken]) if taken > start else b""


def plain(value: Any) -> Any:
    """`value` in types that a message can carry: what is neither a number nor a container becomes its text."""
    if isinstance(value, dict):
        return {
            (key if isinstance(key, int) else plain(str(key))): plain(item) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
