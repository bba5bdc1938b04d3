"""Judges many states with as few loads as what is known allows; several processes load side by side.

States of which the same is unknown wait for one of them to be loaded.  Guarantees: every state comes back with its
judgement, once, in the order in which they come to be known; no process stands idle while a state waits.  Not covered:
what is known, and who loads: see `Pool`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol

from faultkit.crash.enumeration.state import Judgement, State

__all__ = ["Pool", "load_all", "settle_all"]

WAITING_MAX = 2000  # states that wait for what a load of another one will tell

Pairs = Generator[tuple[State, Judgement], None, None]
Known = Callable[[State], tuple[Judgement | None, Any]]
Remember = Callable[[State, Any], Judgement]


class Pool(Protocol):
    """The processes that load.

    count: how many.  free(): whether one more load would be begun soon.  begin(state): have it loaded; a number.
    finished(wait): (number, answer) of loads that are through; with `wait`, of one at least, be it one that nobody
    waits for any more.  abandon(numbers): nobody waits for these.
    """

    @property
    def count(self) -> int: ...

    def free(self) -> bool: ...

    def begin(self, state: State) -> int: ...

    def finished(self, wait: bool) -> list[tuple[int, Any]]: ...

    def abandon(self, numbers: Iterable[int]) -> None: ...


def load_all(states: Iterable[State], pool: Pool, remember: Callable[[State, Any], Judgement]) -> Pairs:
    """Each of `states` with what a load makes of it, loaded for sure, whatever is known."""
    todo = deque(states)
    flying: dict[int, State] = {}
    try:
        while todo or flying:
            while todo and pool.free():
                state = todo.popleft()
                flying[pool.begin(state)] = state
            for number, answer in pool.finished(wait=True):
                state = flying.pop(number)
                yield state, remember(state, answer)
    finally:
        pool.abandon(flying)


def settle_all(
    states: Iterable[State],
    pool: Pool,
    known: Known,
    remember: Remember,
) -> Pairs:
    """Each of `states` with its judgement.

    known(state): the judgement, or None and where knowledge ends, equal for states that one load may answer.
    remember(state, answer): the judgement that a load came to, known from then on.
    """
    work = _Work(pool, known, remember)
    source = iter(states)
    exhausted = False
    try:
        while True:
            work.start_ready()
            if not exhausted and len(work.ready) < pool.count and work.standing < WAITING_MAX:
                state = next(source, None)
                if state is None:
                    exhausted = True
                    continue
                judgement = work.place(state)
                if judgement is not None:
                    yield state, judgement
                if work.flying:
                    yield from work.settle(wait=False)
                continue
            if not work.flying:
                if exhausted and not work.ready:
                    return
                if work.ready:  # all processes have what nobody waits for any more
                    yield from work.settle(wait=True)
                continue
            if not work.start_another():
                yield from work.settle(wait=True)
    finally:
        pool.abandon(work.flying)  # the caller left: nobody waits for what is under way


class _Work:
    def __init__(self, pool: Pool, known: Known, remember: Remember) -> None:
        self._pool, self._known, self._remember = pool, known, remember
        self.waiting: dict[Any, deque[State]] = {}  # where knowledge ends -> states that stand there
        self.flying: dict[int, tuple[State, Any]] = {}  # number of a load -> its state, where it stood
        self.ready: deque[tuple[State, Any]] = deque()  # to be loaded
        self.standing = 0

    def place(self, state: State) -> Judgement | None:
        """Its judgement, if that is known; else it is loaded, or waits for one that is."""
        judgement, end = self._known(state)
        if judgement is not None:
            return judgement
        if end in self.waiting:
            self.waiting[end].append(state)
            self.standing += 1
        else:
            self.waiting[end] = deque()
            self.ready.append((state, end))
        return None

    def start_ready(self) -> None:
        while self.ready and self._pool.free():
            state, end = self.ready.popleft()
            self.flying[self._pool.begin(state)] = (state, end)

    def start_another(self) -> bool:
        """Load one that waits, where a process would stand idle else, although nobody knows yet what it needs."""
        if not self.waiting or len(self.flying) >= self._pool.count:
            return False
        others = max(self.waiting.values(), key=len)
        if not others:
            return False
        state = others.pop()
        self.standing -= 1
        self.flying[self._pool.begin(state)] = (state, object())
        return True

    def settle(self, wait: bool) -> Pairs:
        for number, answer in self._pool.finished(wait=wait):
            state, end = self.flying.pop(number)
            yield state, self._remember(state, answer)
            others = self.waiting.pop(end, ())
            self.standing -= len(others)
            for other in others:
                judgement = self.place(other)
                if judgement is not None:
                    yield other, judgement
