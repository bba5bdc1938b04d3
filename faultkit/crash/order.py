"""Which operation comes before which, whatever the timing: the partial order of a recording, and its cuts.

One operation is before another where the same thread did it first; where it started or was joined by the
other's thread; where a collective makes one rank wait for another (all for all, the root of a broadcast or
scatter for everybody, everybody for the root of a gather or reduce); and where both use the same name or the
same file, which keeps the order that was seen.  A cut is a set of operations that holds with each also all
before it: what can have been done at one moment of some run with other timing.

Left out: waiting by other means (locks, queues, sockets, a file that is polled).  Threads whose start and end
were not recorded are taken to be ordered where the one had closed all its files before the other opened one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from faultkit.crash.units import History

if TYPE_CHECKING:
    from faultkit.files.operations import Operation, Recording

__all__ = ["Order"]

FROM_ROOT = ("broadcast", "scatter")
TO_ROOT = ("gather", "reduce")

Clock = tuple[int, ...]


class Order:
    """The order of a recording's operations, over `chains` of steps, one chain for each thread of each rank.

    A step is one operation that matters (it changes or syncs something), or several writes in a row to one file.
    A cut is how many steps of each chain are in it.
    """

    def __init__(self, recording: Recording, history: History) -> None:
        self.operations = {operation.index: operation for operation in recording.operations}
        threads = sorted({(operation.rank, operation.thread) for operation in recording.operations})
        self.threads = threads
        self._number = {thread: place for place, thread in enumerate(threads)}
        self._clocks = self._all_clocks(recording, history)
        self._build_steps(recording, history)

    # -- the order of operations -----------------------------------------------------------------

    def before(self, first: int, second: int) -> bool:
        """Whether the operation with index `first` is before, or is, the one with index `second`."""
        thread, place = self._place[first]
        return self._clocks[second][thread] >= place

    def _all_clocks(self, recording: Recording, history: History) -> dict[int, list[int]]:
        size = len(self.threads)
        clocks: dict[int, list[int]] = {}
        latest = [[0] * size for _ in range(size)]
        self._place: dict[int, tuple[int, int]] = {}
        reasons = _reasons(recording, history)
        for operation in recording.operations:
            thread = self._number[(operation.rank, operation.thread)]
            clock = list(latest[thread])
            for earlier in reasons.get(operation.index, ()):
                if earlier in clocks:
                    clock = [max(pair) for pair in zip(clock, clocks[earlier], strict=True)]
            clock[thread] += 1
            self._place[operation.index] = (thread, clock[thread])
            clocks[operation.index] = latest[thread] = clock
        return clocks

    # -- steps -----------------------------------------------------------------------------------

    def _build_steps(self, recording: Recording, history: History) -> None:
        self.chains: list[list[list[int]]] = [[] for _ in self.threads]  # thread -> steps -> operations
        step_of: dict[int, tuple[int, int]] = {}
        open_step: dict[int, tuple[int, list[int]]] = {}  # thread -> (file, others' clock) of a row of writes
        for operation in recording.operations:
            thread = self._number[(operation.rank, operation.thread)]
            touch = history.touches.get(operation.index)
            changes = history.of_operation.get(operation.index, 0)
            matters = (
                bool(changes) or (touch is not None and bool(touch.sync)) or operation.kind == "returned"
            )
            if not matters:
                continue
            others = self._clocks[operation.index][:]
            others[thread] = 0
            if operation.kind == "write" and touch is not None and not touch.sync:
                row = (touch.inode, others)
                if open_step.get(thread) == row:
                    self.chains[thread][-1].append(operation.index)
                    step_of[operation.index] = (thread, len(self.chains[thread]))
                    continue
                open_step[thread] = row
            else:
                open_step.pop(thread, None)
            self.chains[thread].append([operation.index])
            step_of[operation.index] = (thread, len(self.chains[thread]))
        # The last step of each thread that an operation waits for: step counts instead of operation counts.
        counts: list[list[int]] = []
        for thread in range(len(self.threads)):
            length = max((place for t, place in self._place.values() if t == thread), default=0)
            row_counts = [0] * (length + 1)
            for index, (t, place) in self._place.items():
                if t == thread and index in step_of:
                    row_counts[place] = step_of[index][1]
            for place in range(1, length + 1):
                row_counts[place] = max(row_counts[place], row_counts[place - 1])
            counts.append(row_counts)
        self.clocks: list[
            list[Clock]
        ] = []  # thread -> step -> how many steps of each thread it needs, itself included
        for thread, steps in enumerate(self.chains):
            needed: list[Clock] = []
            for number, step in enumerate(steps, 1):
                clock = [counts[t][place] for t, place in enumerate(self._clocks[step[-1]])]
                clock[thread] = number
                needed.append(tuple(clock))
            self.clocks.append(needed)
        self.step_of = step_of

    # -- cuts ------------------------------------------------------------------------------------

    @property
    def full(self) -> Clock:
        return tuple(len(chain) for chain in self.chains)

    @property
    def empty(self) -> Clock:
        return tuple(0 for _ in self.chains)

    def steps_in(self, cut: Clock) -> Iterator[list[int]]:
        for chain, count in zip(self.chains, cut, strict=True):
            yield from chain[:count]

    def operations_in(self, cut: Clock) -> list[int]:
        return sorted(index for step in self.steps_in(cut) for index in step)

    def next_steps(self, cut: Clock) -> Iterator[tuple[int, list[int]]]:
        """(thread, step) of every step that may come next."""
        for thread, count in enumerate(cut):
            if count < len(self.chains[thread]):
                needed = self.clocks[thread][count]
                if all(n <= c for t, (n, c) in enumerate(zip(needed, cut, strict=True)) if t != thread):
                    yield thread, self.chains[thread][count]

    def cuts(self, count_max: int) -> tuple[list[Clock], bool]:
        """(the consistent cuts, whether these are all); past `count_max` only the pairwise ones."""
        seen = {self.empty}
        waiting = [self.empty]
        while waiting:
            cut = waiting.pop()
            for thread, _ in self.next_steps(cut):
                after = (*cut[:thread], cut[thread] + 1, *cut[thread + 1 :])
                if after not in seen:
                    seen.add(after)
                    waiting.append(after)
            if len(seen) > count_max:
                return sorted(self._pairwise(), key=lambda cut: (sum(cut), cut)), False
        return sorted(seen, key=lambda cut: (sum(cut), cut)), True

    def _pairwise(self) -> set[Clock]:
        found = {self.empty, self.full}
        threads = [thread for thread, chain in enumerate(self.chains) if chain]
        for place, one in enumerate(threads):
            for other in threads[place + 1 :]:
                for i in range(len(self.chains[one]) + 1):
                    for j in range(len(self.chains[other]) + 1):
                        found |= set(self._around(one, i, other, j))
        return found

    def _around(self, one: int, i: int, other: int, j: int) -> Iterator[Clock]:
        least = list(self.empty)
        for thread, count in ((one, i), (other, j)):
            if count:
                least = [max(pair) for pair in zip(least, self.clocks[thread][count - 1], strict=True)]
        if least[one] == i and least[other] == j:
            yield tuple(least)
            most = []
            for clocks in self.clocks:
                count = 0
                for clock in clocks:  # clocks of one thread only grow
                    if clock[one] > i or clock[other] > j:
                        break
                    count += 1
                most.append(count)
            yield tuple(most)

    def returned(self) -> Clock:
        """The least cut in which the function has returned on every rank; everything where no return was recorded."""
        ends = [index for index, operation in self.operations.items() if operation.kind == "returned"]
        if {self.operations[index].rank for index in ends} != {rank for rank, _ in self.threads}:
            return self.full
        cut = list(self.empty)
        for index in ends:
            thread, number = self.step_of[index]
            cut = [max(pair) for pair in zip(cut, self.clocks[thread][number - 1], strict=True)]
        return tuple(cut)


def _reasons(recording: Recording, history: History) -> dict[int, list[int]]:
    """Index of an operation -> operations that it comes after, besides those of its own thread."""
    reasons: dict[int, list[int]] = defaultdict(list)
    _add_conflicts(recording, history, reasons)
    _add_collectives(recording, reasons)
    _add_threads(recording, reasons)
    return reasons


def _add_conflicts(recording: Recording, history: History, reasons: dict[int, list[int]]) -> None:
    changed: dict[object, int] = {}
    read: dict[object, list[int]] = defaultdict(list)
    for operation in recording.operations:
        touch = history.touches.get(operation.index)
        if touch is None:
            continue
        about_content = operation.kind in ("open", "write", "truncate", "fsync", "fdatasync")
        writes: list[object] = list(touch.writes)
        if about_content and touch.inode >= 0:
            writes.append(("content", touch.inode))
        for thing in (*touch.reads, *writes):
            if thing in changed:
                reasons[operation.index].append(changed[thing])
        for thing in writes:
            reasons[operation.index] += read.pop(thing, [])
            changed[thing] = operation.index
        for thing in touch.reads:
            if thing not in writes:
                read[thing].append(operation.index)


def _add_collectives(recording: Recording, reasons: dict[int, list[int]]) -> None:
    meetings: dict[tuple[tuple[int, ...], int], list[Operation]] = defaultdict(list)
    for operation in recording.operations:
        if operation.kind == "collective":
            meetings[(operation.group, operation.number)].append(operation)
    for sides in meetings.values():
        entered = [side for side in sides if side.phase == "enter"]
        left = [side for side in sides if side.phase == "leave"]
        name = sides[0].name.lstrip("_")
        root = next((side.root for side in sides if side.root >= 0), -1)
        from_root = name.startswith(FROM_ROOT) and root >= 0
        to_root = name.startswith(TO_ROOT) and not name.startswith("reduce_scatter") and root >= 0
        everybody = max((side.index for side in entered), default=0) < min(
            (side.index for side in left), default=0
        )
        for leave in left:
            for enter in entered:
                if enter.rank == leave.rank or enter.index > leave.index:
                    continue
                if from_root:
                    waits = enter.rank == root
                elif to_root:
                    waits = leave.rank == root
                else:
                    waits = everybody
                if waits:
                    reasons[leave.index].append(enter.index)


def _add_threads(recording: Recording, reasons: dict[int, list[int]]) -> None:
    first: dict[tuple[int, int], int] = {}
    last: dict[tuple[int, int], list[int]] = defaultdict(list)
    started: dict[tuple[int, int], int] = {}
    known: set[tuple[int, int]] = set()
    for operation in recording.operations:
        me = (operation.rank, operation.thread)
        if me not in first:
            first[me] = operation.index
            if me in started:
                reasons[operation.index].append(started[me])
        last[me].append(operation.index)
        if operation.kind == "thread":
            other = (operation.rank, operation.number)
            known.add(other)
            if operation.phase == "start":
                started.setdefault(other, operation.index)
            elif last.get(other):
                reasons[operation.index].append(last[other][-1])
    unknown = [thread for thread in first if thread[1] != 0 and thread not in known]
    for rank in {rank for rank, _ in unknown}:
        _add_sessions([op for op in recording.operations if op.rank == rank], reasons)


def _add_sessions(operations: list[Operation], reasons: dict[int, list[int]]) -> None:
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
    if operation.handle >= 0 and operation.kind in (
        "open",
        "write",
        "truncate",
        "fsync",
        "fdatasync",
        "close",
    ):
        return (operation.thread, operation.handle)
    return operation.index
