"""What the trials share: counting, and the command that brings a violation back.

Guarantees: what was tried is told by kind and promise, and is complete only where all of it was.  Not covered: what a
trial does (the other files of `faultkit.conformance.trials`).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.conformance.card import Broken, Effort

__all__ = ["Context", "Tally", "Trial", "command"]


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What all trials of one check are given.

    `text` is what names the checkpointer in a command; `limit_seconds` bounds one unit of a campaign that knows
    no smaller ones, None where everything is to be tried.  `hints` are those of violations that were found before.
    """

    checkpointer: Checkpointer
    text: str
    world_size: int
    kind: str
    seed: int
    timeout_seconds: float
    limit_seconds: float | None
    hints: tuple[str, ...] = ()

    def first(self, trial: str) -> list[str]:
        """What `trial` found something by the last time, and begins with."""
        return [hint.partition(": ")[2] for hint in self.hints if hint.partition(": ")[0] == trial]

    @property
    def seed_words(self) -> tuple[object, ...]:
        """The seed as words of a command; () for its default."""
        return ("--seed", self.seed) if self.seed else ()

    def scenario(self, word: str) -> Any:
        """``NAME.word``, by the name under which it can be found again."""
        from faultkit.scenarios.derived import derive

        name = self.text.partition(",")[0]
        return derive(self.checkpointer, word, name=f"{name}.{word}")


class Trial(Protocol):
    """See the package."""

    name: str
    share: float
    promises: frozenset[str]

    def units(self) -> Iterator[list[Broken]]: ...

    def efforts(self, promise: str) -> list[Effort]: ...

    def pids(self) -> list[int]: ...

    def close(self) -> None: ...


class Tally:
    """How much of each kind was tried for each promise, and how much there is; written by one thread."""

    def __init__(self) -> None:
        self._done: dict[tuple[str, str], int] = {}
        self._planned: dict[tuple[str, str], int] = {}
        self._open: set[tuple[str, str]] = set()

    def plan(self, promise: str, what: str, total: int) -> None:
        """`total` more of `what` are to be tried."""
        key = promise, what
        self._planned[key] = self._planned.get(key, 0) + total
        self._done.setdefault(key, 0)

    def add(self, promise: str, what: str, count: int = 1) -> None:
        key = promise, what
        self._done[key] = self._done.get(key, 0) + count

    def leave_open(self, promise: str, what: str) -> None:
        """Not all of it was tried, although nobody knows how much there is."""
        self._open.add((promise, what))

    def close_off(self, promise: str, what: str) -> None:
        """All of it was tried after all."""
        self._open.discard((promise, what))

    def efforts(self, promise: str) -> list[Effort]:
        return [
            Effort(
                what,
                done,
                self._planned.get((of, what)),
                (of, what) not in self._open and done >= self._planned.get((of, what), 0),
            )
            for (of, what), done in self._done.items()
            if of == promise
        ]


def command(*words: object) -> str:
    """The shell command of these words, without those that are empty."""
    return shlex.join(["faultkit", *(str(word) for word in words if word != "")])
