"""What a simulated rank leaves behind: threads, descriptors, child processes, shared memory, temporary files.

As on a process (`faultkit.worlds.leaks`), what ends by itself has a moment to do so, and garbage is collected
first.  Not covered: descriptors that C code opened by itself, of which nobody can tell whose they are.
"""

from __future__ import annotations

import gc
import os
from typing import Any

from faultkit.worlds import leaks
from faultkit.worlds.simulated.core.ranks import Rank, current_rank
from faultkit.worlds.simulated.core.scheduler import OVER, Scheduler
from faultkit.worlds.simulated.process import resource_owners

__all__ = ["begin", "install", "new_descriptors", "record_left"]

GRACE_NS = 50_000_000
GRACE_REAL_SECONDS = 5.0

_before: frozenset[str] = frozenset()  # the descriptors that the host had


class _ByRank(list[str]):
    """Notes each name with the rank that makes what it names."""

    def __init__(self, attribute: str) -> None:
        super().__init__()
        self._attribute = attribute

    def append(self, name: Any) -> None:
        rank = current_rank()
        if rank is not None:
            getattr(rank, self._attribute).append(name)


def install() -> None:
    """Once, in the host."""
    leaks.install(_ByRank("made_files"), _ByRank("made_memory"))
    resource_owners.install()


def begin() -> None:
    """A run begins: what there is now is nobody's."""
    global _before
    resource_owners.forget()
    _before = leaks.open_descriptors()


def record_left(ranks: list[Rank], scheduler: Scheduler) -> None:
    """Record, for each rank whose function is over, what it has left behind."""
    ended = [rank for rank in ranks if rank.is_through and rank.state != "dead"]
    if any(rank.live_tasks() for rank in ended):
        gc.collect()  # a worker ends when its pool does
        scheduler.limit_ns = scheduler.now_ns
        scheduler.close_soon(0)
        scheduler.limit_ns += GRACE_NS
        scheduler.go(GRACE_REAL_SECONDS)
    descriptors = _descriptors()
    for rank in ended:
        own = resource_owners.descriptors(rank.number)
        memory = set(leaks.present_memory(rank.made_memory))
        left = {
            "children": _children(rank.number),
            "descriptors": [],
            "files": leaks.present_files(rank.made_files),
            "threads": sorted(task.name for task in rank.live_tasks() if task.state is not OVER),
        }
        for number, target in descriptors.items():
            if number in own and os.path.dirname(target) == leaks.SHARED_MEMORY:
                memory.add(target.removesuffix(" (deleted)"))
            elif number in own:
                left["descriptors"].append(f"{number} -> {target}")
        left["shared_memory"] = sorted(memory)
        if any(left.values()):
            rank.record("residue", {name: leaks.bounded(names) for name, names in left.items()})


def new_descriptors() -> frozenset[str]:
    """The numbers of those that the host had not when the run began."""
    return leaks.open_descriptors() - _before


def _descriptors() -> dict[int, str]:
    """Those that are new and the ranks' own, with what they lead to."""
    new = new_descriptors()
    if new:
        gc.collect()
        new = new_descriptors()
    return leaks.of_the_function(leaks.links_of(new), is_served=False) if new else {}


def _children(rank: int) -> list[str]:
    described = leaks.described(resource_owners.children(rank))
    return [f"{pid} {words}" for pid, words in sorted(described.items()) if words is not None]
