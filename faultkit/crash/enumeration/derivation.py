"""Why one operation comes before another of another thread: `reasons_of`.

It does where `faultkit.recording.edges` says so (collectives, messages, threads that start, join and wait); and where
both use the same name, or the same file and one of them changes it, which keeps the order that was seen.

Two opens of one file or directory order nothing, however they fell; nor do writes to different bytes through different
handles; and a sync is only held to the writes of its own rank, since ranks share no handle.  Else a barrier that is
missing would be found or not as the ranks happened to be early or late.

Not covered: waiting by other means (locks, sockets, a file that is polled).  Threads whose start and end were not
recorded are taken to be ordered where the one had closed all its files before the other opened one.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from faultkit.crash.enumeration.units import History, Touch
from faultkit.recording.ordering import edges

if TYPE_CHECKING:
    from faultkit.recording.operations import Operation, Recording

__all__ = ["reasons_of"]

Reasons = dict[int, list[int]]


def reasons_of(recording: Recording, history: History) -> Reasons:
    """Index of an operation -> operations that it comes after, besides those of its own thread."""
    reasons: Reasons = defaultdict(list)
    for before, after in edges(recording):
        reasons[after].append(before)
    _add_names(recording, history, reasons)
    _add_contents(recording, history, reasons)
    _add_unknown_threads(recording, reasons)
    return reasons


def _add_names(recording: Recording, history: History, reasons: Reasons) -> None:
    changed: dict[object, int] = {}
    read: dict[object, list[int]] = defaultdict(list)
    for operation in recording.operations:
        touch = history.touches.get(operation.index)
        if touch is None:
            continue
        for name in (*touch.reads, *touch.writes):
            if name in changed:
                reasons[operation.index].append(changed[name])
        for name in touch.writes:
            reasons[operation.index] += read.pop(name, [])
            changed[name] = operation.index
        for name in touch.reads:
            if name not in touch.writes:
                read[name].append(operation.index)


class _Content:
    """What was done with the content of one file since it was last changed as a whole."""

    def __init__(self, whole: int | None = None) -> None:
        self.whole = whole
        self.looks: list[tuple[int, bool, int]] = []  # rank, whether it is a sync, index
        self.writes: dict[tuple[int, int, int], list[tuple[int, int, int]]] = defaultdict(list)

    def before_look(self, operation: Operation, is_sync: bool) -> list[int]:
        self.looks.append((operation.rank, is_sync, operation.index))
        return [
            spans[-1][2]
            for (rank, _, _), spans in self.writes.items()
            if rank == operation.rank or not is_sync
        ]

    def before_write(self, operation: Operation, touch: Touch) -> list[int]:
        found = [index for rank, is_sync, index in self.looks if rank == operation.rank or not is_sync]
        for (rank, thread, handle), spans in self.writes.items():
            if (rank, thread) == (operation.rank, operation.thread):
                continue
            if (rank, handle) == (operation.rank, touch.handle):  # one position for both
                found.append(spans[-1][2])
            else:
                found += [index for start, stop, index in spans if start < touch.stop and touch.start < stop]
        self.writes[operation.rank, operation.thread, touch.handle].append(
            (touch.start, touch.stop, operation.index)
        )
        return found

    def everything(self) -> list[int]:
        return [index for *_, index in self.looks] + [spans[-1][2] for spans in self.writes.values()]


def _add_contents(recording: Recording, history: History, reasons: Reasons) -> None:
    contents: dict[int, _Content] = defaultdict(_Content)
    for operation in recording.operations:
        touch = history.touches.get(operation.index)
        if touch is None or not touch.content:
            continue
        content = contents[touch.inode]
        if content.whole is not None:
            reasons[operation.index].append(content.whole)
        match touch.content:
            case "read" | "sync":
                reasons[operation.index] += content.before_look(operation, touch.content == "sync")
            case "write":
                reasons[operation.index] += content.before_write(operation, touch)
            case "whole":
                reasons[operation.index] += content.everything()
                contents[touch.inode] = _Content(operation.index)


def _add_unknown_threads(recording: Recording, reasons: Reasons) -> None:
    known = {(one.rank, one.number) for one in recording.operations if one.phase in ("start", "join")}
    threads = {(one.rank, one.thread) for one in recording.operations if one.thread != 0}
    for rank in {rank for rank, _ in threads - known}:
        _add_sessions([one for one in recording.operations if one.rank == rank], reasons)


def _add_sessions(operations: list[Operation], reasons: Reasons) -> None:
    """Threads of one rank whose start and end are not known: ordered where no file was open in both at once."""
    spans: dict[object, tuple[float, float]] = {}
    for operation in operations:
        key = _session(operation)
        low, high = spans.get(key, (operation.seconds, operation.end_seconds))
        spans[key] = (min(low, operation.seconds), max(high, operation.end_seconds, operation.seconds))
    threads = sorted({operation.thread for operation in operations})
    ends = {
        thread: sorted((spans[_session(op)][1], op.index) for op in operations if op.thread == thread)
        for thread in threads
    }
    for operation in operations:
        begun = spans[_session(operation)][0]
        for thread in threads:
            if thread != operation.thread:
                earlier = [index for end, index in ends[thread] if end <= begun and index < operation.index]
                if earlier:
                    reasons[operation.index].append(max(earlier))


def _session(operation: Operation) -> object:
    kinds = ("open", "write", "truncate", "fsync", "fdatasync", "close")
    if operation.handle >= 0 and operation.kind in kinds:
        return (operation.thread, operation.handle)
    return operation.index
