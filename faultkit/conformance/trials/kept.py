"""A trial that was through in an earlier run of the same check: what a journal keeps of it, and what stands for it.

Guarantees: the card of a check that goes on is told as if the trial had run: what it found, how much it tried, noted.
Not covered: a trial that was not through; it begins again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from faultkit.conformance.card import Broken, Effort
from faultkit.conformance.trials.trial import Trial

__all__ = ["Kept", "Through", "through"]


class Through(msgspec.Struct, frozen=True):
    """What a trial came to, of each promise how much it tried."""

    broken: tuple[Broken, ...]
    efforts: dict[str, tuple[Effort, ...]]
    notes: tuple[str, ...] = ()
    flaky: bool = False


def through(trial: Trial, broken: Sequence[Broken]) -> Through:
    """What `trial`, which has nothing more to do, has come to."""
    return Through(
        tuple(broken),
        {promise: tuple(trial.efforts(promise)) for promise in sorted(trial.promises)},
        tuple(getattr(trial, "notes", ())),
        bool(getattr(trial, "flaky", False)),
    )


class Kept:
    """In the place of a trial that was through."""

    def __init__(self, trial: Trial, found: Through) -> None:
        self.name, self.share, self.promises = trial.name, trial.share, trial.promises
        self.notes, self.flaky = found.notes, found.flaky
        self._found = found

    def units(self) -> Iterator[list[Broken]]:
        yield list(self._found.broken)

    def efforts(self, promise: str) -> list[Effort]:
        return list(self._found.efforts.get(promise, ()))

    def pids(self) -> list[int]:
        return []

    def close(self) -> None:
        """Nothing runs."""
