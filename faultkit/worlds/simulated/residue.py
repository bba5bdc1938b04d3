"""What a simulated rank leaves behind: threads, and temporary files.

As on a process (`faultkit.worlds.residue`), what ends by itself has a moment to do so, and garbage is collected
first.  Left out: descriptors, child processes and shared memory, of which the ranks share one set and nobody can
tell whose one is.
"""

from __future__ import annotations

import gc
from typing import Any

from faultkit.worlds import residue
from faultkit.worlds.simulated.ranks import Rank, current_rank
from faultkit.worlds.simulated.scheduler import OVER, Scheduler

__all__ = ["install", "record_left"]

GRACE_NS = 50_000_000
GRACE_REAL_SECONDS = 5.0


class _ByRank(list[str]):
    """Notes each path with the rank that makes the file."""

    def append(self, path: Any) -> None:
        rank = current_rank()
        if rank is not None:
            rank.made_files.append(path)


def install() -> None:
    """Once, in the host."""
    residue.install()
    residue._made_files = _ByRank()


def record_left(ranks: list[Rank], scheduler: Scheduler) -> None:
    """Record, for each rank whose function is over, what it has left behind."""
    ended = [rank for rank in ranks if rank.is_through and rank.state != "dead"]
    if any(rank.live_tasks() for rank in ended):
        gc.collect()  # a worker ends when its pool does
        scheduler.limit_ns = scheduler.now_ns
        scheduler.close_soon(0)
        scheduler.limit_ns += GRACE_NS
        scheduler.go(GRACE_REAL_SECONDS)
    for rank in ended:
        left = {
            "files": [path for path in rank.made_files if residue._is_left(path)],
            "threads": sorted(task.name for task in rank.live_tasks() if task.state is not OVER),
        }
        if any(left.values()):
            rank.record(
                "residue",
                {"children": [], "descriptors": [], "shared_memory": []}
                | {name: residue._bounded(names) for name, names in left.items()},
            )
