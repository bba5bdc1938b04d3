"""How much a simulated rank has at one moment, as `faultkit.worlds.resources` has it of a process.

What is a rank's own: descriptors that it opened, threads, child processes, and shared memory and temporary files by
their names.  Memory is that of the host, less what the simulation itself keeps of the run (logs, output): it cannot be
told whose it is, so rank 0 counts it for all.  Not covered: descriptors that C code opened by itself, mappings without
a name.
"""

from __future__ import annotations

import sys

from faultkit.worlds import leaks, resources
from faultkit.worlds.simulated.core.ranks import Rank, current_rank
from faultkit.worlds.simulated.process import leaks as leaks_of_ranks
from faultkit.worlds.simulated.process import resource_owners

__all__ = ["SimulatedMeter", "install"]


def install() -> None:
    """Once, in the host."""
    resources.install(_of_current)


def _of_current() -> SimulatedMeter | None:
    rank = current_rank()
    return None if rank is None else SimulatedMeter(rank)


class SimulatedMeter:
    """Counts what one simulated rank has."""

    def __init__(self, rank: Rank) -> None:
        self._rank = rank

    def counts(self) -> dict[str, int]:
        found = {name: len(names) for name, names in self.names().items()}
        if self._rank.number:
            return found
        found["resident"] = resources.resident_bytes() - self._own_bytes()
        memory = resources.memory_bytes()
        if memory is not None:
            found["memory"] = memory - self._own_bytes()
        return found

    def names(self) -> dict[str, list[str]]:
        rank = self._rank
        own = resource_owners.descriptors(rank.number)
        links = leaks.links_of(leaks_of_ranks.new_descriptors())
        children = leaks.described(resource_owners.children(rank.number))
        return {
            "descriptors": [target for number, target in links.items() if number in own],
            "threads": [task.name for task in rank.live_tasks()],
            "children": [str(words) for words in children.values()],
            "shared_memory": leaks.present_memory(rank.made_memory),
            "temporary_files": leaks.present_files(rank.made_files),
        }

    def _own_bytes(self) -> int:
        scheduler = self._rank.scheduler
        ranks = {id(task.rank): task.rank for task in scheduler.tasks}.values()
        kept = sum(sys.getsizeof(rank.log) + rank.output_length for rank in ranks)
        return kept + sys.getsizeof(scheduler.tasks)
