"""What a rank does when its growth is measured: the same work again and again, and a count after each turn.

Guarantees: what only garbage holds does not count: it is collected before each count.  What there is after the warm-up
is left out of that (`gc.freeze`), or each collection would cost as much as a save.  Counting itself keeps nothing.
What was counted is recorded as one event at the end, also where the work failed.
Not covered: what is made of it (`faultkit.checks.growth`).  Imports torch where it is called.
"""

from __future__ import annotations

import array
import gc
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from faultkit.checkpointers import rank_work
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checks.growth import EVENT
from faultkit.worlds import resources

__all__ = ["KEPT", "Calls", "Life", "Turns", "warm_up_of"]

KEPT = 2  # checkpoints, by a checkpointer that prunes
WARM_UP_MIN = 10
NAMED_COUNT_MAX = 20
ONE_STEP = 1


class Life(msgspec.Struct, frozen=True):
    """A turn of a checkpointer's: a save, a prune where there is such, and a load.

    Where it does not prune, one step is saved again and again; where that cannot be either, each save has a directory
    of its own, which is removed, and files are not counted.
    """

    checkpointer: Checkpointer
    turn = "save"

    @property
    def counts_files(self) -> bool:
        return self.checkpointer.prune is not None or "overwrite" in self.checkpointer.work

    def __call__(self, number: int, directory: Path) -> None:
        checkpointer = self.checkpointer
        if not self.counts_files:
            directory = _made_anew(directory, None)
        step = number if checkpointer.prune is not None or not self.counts_files else ONE_STEP
        rank_work.finish(
            rank_work.save(checkpointer, rank_work.state_of(checkpointer, number), directory, step)
        )
        if checkpointer.prune is not None:
            rank_work.call(checkpointer, checkpointer.prune, directory, KEPT)
        rank_work.require_step(checkpointer, rank_work.state_of(checkpointer, 0), directory, step)


class Calls(msgspec.Struct, frozen=True):
    """A turn of any other work: one call of `function` in a directory that is empty, or as it was prepared."""

    function: Callable[..., Any]
    keywords: dict[str, Any]
    prepared: str | None = None
    takes_directory: bool = True
    turn = "call"
    counts_files = False

    def __call__(self, number: int, directory: Path) -> None:
        keywords = dict(self.keywords)
        if self.takes_directory:
            keywords["directory"] = _made_anew(directory, self.prepared)
        self.function(**keywords)


class Turns(msgspec.Struct, frozen=True):
    """So many turns of `work`."""

    work: Life | Calls
    count: int

    def __call__(self, directory: Path) -> None:
        counted = _Counted(self.work, self.count, directory)
        try:
            for number in range(1, self.count + 1):
                self.work(number, directory)
                counted.count()
        finally:
            counted.record()


def warm_up_of(count: int) -> int:
    """How many of so many turns are left out."""
    return max(WARM_UP_MIN, count // 5)


class _Counted:
    """What was counted on this rank after each turn."""

    def __init__(self, work: Life | Calls, count: int, directory: Path) -> None:
        import torch.distributed as dist

        self._work, self._directory = work, directory
        self._meter = resources.of_this_rank()
        self._warm_up = warm_up_of(count)
        self._is_grouped = dist.is_initialized()
        self._is_first = not self._is_grouped or dist.get_rank() == 0
        self._turns = 0
        self._before: dict[str, Counter[str]] = {}
        self._is_freezing = False
        # as long as they will be, so that they do not grow while memory is counted
        self._samples = {name: array.array("q", bytes(8 * count)) for name in self._counts()}
        self._counts_memory = "resident" in self._samples  # of simulated ranks one does, for all

    def count(self) -> None:
        import torch.distributed as dist

        if self._is_grouped:
            dist.barrier()  # nobody saves while somebody counts
        if self._counts_memory:
            gc.collect()
        for name, number in self._counts().items():
            self._samples[name][self._turns] = number
        self._turns += 1
        if self._turns == self._warm_up:
            self._before = {name: Counter(names) for name, names in self._names().items()}
            if self._counts_memory:
                gc.freeze()
                self._is_freezing = True
        if self._is_grouped:
            dist.barrier()

    def record(self) -> None:
        from faultkit.injection import current

        kinds = _kinds_of_objects(self._turns - self._warm_up) if self._is_freezing else []
        names = {name: _more(self._before.get(name), found) for name, found in self._names().items()}
        if self._is_freezing:
            gc.unfreeze()
        session = current()
        if session is None:
            return
        session.record(
            EVENT,
            turn=self._work.turn,
            warm_up=self._warm_up,
            samples={name: list(numbers[: self._turns]) for name, numbers in self._samples.items()},
            names={**names, **dict.fromkeys(("memory", "resident"), kinds)},
        )

    def _counts(self) -> dict[str, int]:
        found = self._meter.counts()
        if self._is_first and self._work.counts_files:
            files = _files(self._directory)
            found |= {"files": len(files), "file_bytes": sum(files.values())}
        return found

    def _names(self) -> dict[str, list[str]]:
        found = self._meter.names()
        if self._is_first and self._work.counts_files:
            found["files"] = list(_files(self._directory))
        return found


def _made_anew(directory: Path, prepared: str | None) -> Path:
    """A place beneath `directory` that is empty, or a copy of what is at `prepared`; the same on every rank."""
    import torch.distributed as dist

    place = directory / "of-a-turn"
    is_grouped = dist.is_initialized()
    if is_grouped:
        dist.barrier()
    if not is_grouped or dist.get_rank() == 0:
        shutil.rmtree(place, ignore_errors=True)
        if prepared is None:
            place.mkdir()
        else:
            shutil.copytree(prepared, place, symlinks=True)
    if is_grouped:
        dist.barrier()
    return place


def _files(directory: Path) -> dict[str, int]:
    """The size in bytes of each file beneath `directory`."""
    return {
        os.path.relpath(os.path.join(place, name), directory): os.lstat(os.path.join(place, name)).st_size
        for place, _, names in os.walk(directory)
        for name in names
    }


def _more(before: Counter[str] | None, found: list[str]) -> list[str]:
    """What there is more of than before, each with how many more where that is above 1."""
    if before is None:
        return []
    more = Counter(found) - before
    return [
        name if count == 1 else f"{name} ({count} times)" for name, count in more.most_common(NAMED_COUNT_MAX)
    ]


def _kinds_of_objects(turns: int) -> list[str]:
    """Of which types about as many objects live that were made since the warm-up as there were turns, or more.

    Those of Python itself come last: what somebody keeps holds some of them.
    """
    kinds = Counter(type(one) for one in gc.get_objects())
    counts = [(kind, count) for kind, count in kinds.items() if 2 * count >= turns > 0]
    counts.sort(key=lambda pair: (_is_pythons(pair[0]), -pair[1]))
    return [f"{count} {_name_of(kind)}" for kind, count in counts[:NAMED_COUNT_MAX]]


def _is_pythons(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in sys.stdlib_module_names


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
