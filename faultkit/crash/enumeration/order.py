"""Which operation comes before which, whatever the timing: the partial order of a recording, and its cuts.

One operation is before another where the same thread did it first, or where `faultkit.crash.enumeration.derivation`
says why. A cut is a set of operations that holds with each also all before it: what can have been done at one moment of
some run with other timing.  Not covered: the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from faultkit.crash.enumeration.derivation import reasons_of
from faultkit.crash.enumeration.units import History

if TYPE_CHECKING:
    from faultkit.recording.operations import Recording

__all__ = ["Order"]

Clock = tuple[int, ...]


class Order:
    """The order of a recording's operations, over `chains` of steps, one chain for each thread of each rank.

    A step is one operation that matters (it changes or syncs something), or, with `rows`, several writes in a row to
    one file.
    A cut is how many steps of each chain are in it.
    """

    def __init__(self, recording: Recording, history: History, rows: bool = True) -> None:
        self.operations = {operation.index: operation for operation in recording.operations}
        threads = sorted({(operation.rank, operation.thread) for operation in recording.operations})
        self.threads = threads
        self._number = {thread: place for place, thread in enumerate(threads)}
        self._clocks = self._all_clocks(recording, history)
        self._build_steps(recording, history, rows)

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
        reasons = reasons_of(recording, history)
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

    def _build_steps(self, recording: Recording, history: History, rows: bool) -> None:
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
            if rows and operation.kind == "write" and touch is not None and not touch.sync:
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
