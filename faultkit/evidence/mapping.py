"""A job of many ranks as a smaller one: which of its ranks matter, and which rank each becomes.

Guarantees: the coordinator stays the coordinator, every suspect keeps a rank of its own, and what is told afterwards is
in the job's numbers.  Not covered: jobs in which the number of ranks is the matter.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from faultkit.exceptions import PlanError
from faultkit.plan import FaultPlan

__all__ = ["SMALL", "Mapping", "mapped"]

SMALL = 4
SIZE_MAX = 64  # that is tried as it is


class Mapping(msgspec.Struct, frozen=True):
    """Which of the job's ranks stands for each rank of the smaller world, in its order."""

    ranks: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.ranks)

    def to_small(self, plan: FaultPlan) -> FaultPlan:
        """`plan` with the ranks of the smaller world.  Raises PlanError where one has no place there."""
        places = {rank: place for place, rank in enumerate(self.ranks)}
        made = []
        for fault in plan:
            if fault.ranks == "*":
                made.append(fault)
                continue
            named = [int(text) for text in fault.ranks.split(",") if text.isdecimal()]
            if not named or any(rank not in places for rank in named):
                raise PlanError(f"ranks {fault.ranks} have no place in a world of {self.size}")
            made.append(msgspec.structs.replace(fault, ranks=",".join(str(places[rank]) for rank in named)))
        return FaultPlan(tuple(made))


def mapped(world_size: int, suspects: Iterable[int], size: int | None = None) -> Mapping:
    """The mapping of a job of `world_size` ranks to one of `size`, or of as few as it takes."""
    wanted = sorted(set(suspects))
    if size is None and world_size <= SIZE_MAX:
        return Mapping(tuple(range(max(world_size, 2))))
    size = min(size or max(SMALL, len(wanted) + 2), max(world_size, 2))
    chosen = {0, *wanted}
    for rank in range(world_size):
        if len(chosen) >= size:
            break
        chosen.add(rank)
    return Mapping(tuple(sorted(chosen)))
