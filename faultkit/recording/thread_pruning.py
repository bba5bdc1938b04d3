"""Which helper threads of a run matter, and after which of its operations each wait comes.

Guarantees: a thread that did nothing which was recorded is left out, unless two others are ordered by way of it, as by
the threads in the middle of a pool.  A wait is kept where it comes after an operation that nothing before it came
after.  Not covered: recording them (`faultkit.recording.sync_events`, `faultkit.recording.sync_primitives`).
"""

from __future__ import annotations

import bisect
from collections import defaultdict

from faultkit.recording.spool import RawOperation

__all__ = ["Waits", "without_idle_threads"]

Frame = tuple[int, RawOperation, bytes]
Thread = tuple[int, int]  # of the system: process, thread


def without_idle_threads(found: list[Frame]) -> list[Frame]:
    """Drop the starts, joins and waits of threads by way of which nothing is ordered."""
    threads = {(raw.process, raw.thread) for _, raw, _ in found if raw.kind != "thread"}
    ways: set[tuple[Thread, Thread]] = set()
    for _, raw, _ in found:
        if raw.kind == "thread":
            me, other = (raw.process, raw.thread), (raw.process, raw.number)
            ways.add((me, other) if raw.phase == "start" else (other, me))
    between = {one for way in ways for one in way} - threads
    while True:
        kept = between | threads
        lead = {
            thread
            for thread in between
            if any(
                start != end
                for start in {one for one, other in ways if other == thread and one in kept}
                for end in {other for one, other in ways if one == thread and other in kept}
            )
        }
        if lead == between:
            break
        between = lead
    return [
        frame
        for frame in found
        if frame[1].kind != "thread"
        or {(frame[1].process, frame[1].thread), (frame[1].process, frame[1].number)} <= kept
    ]


class Waits:
    """Follows what each thread had done by when."""

    def __init__(self) -> None:
        self._ends: dict[Thread, list[tuple[int, int]]] = defaultdict(list)  # when it ended, its index
        self._known: dict[tuple[Thread, Thread], int] = {}

    def add(self, raw: RawOperation, index: int) -> None:
        """`raw` is the operation `index`."""
        ends = self._ends[raw.process, raw.thread]
        ends.append((max(raw.end_ns, ends[-1][0] if ends else 0), index))

    def after(self, raw: RawOperation) -> int | None:
        """The operation that the other thread had done last; None where that adds nothing."""
        me, other = (raw.process, raw.thread), (raw.process, raw.number)
        ends = self._ends[other]
        place = bisect.bisect_right(ends, raw.offset, key=lambda end: end[0])
        if not place or self._known.get((me, other), -1) >= ends[place - 1][1]:
            return None
        index = self._known[me, other] = ends[place - 1][1]
        return index
