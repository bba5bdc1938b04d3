"""`WorldKind`: what a world asks of its kind, and the only place where kinds differ.

Guarantees: a kind that has these members and an entry in the table of `faultkit.worlds.kinds` is a kind of world: the
command line, sweeps, campaigns and the plugin ask it, and never for its name.  Not covered: what a user may ask of a
world, and whether it is well asked (`faultkit.worlds.world`, `faultkit.worlds.arguments`).
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import msgspec

from faultkit.plan import FaultPlan
from faultkit.runs.run import Run
from faultkit.worlds.rank import Call
from faultkit.worlds.simulated.messages import Schedule

__all__ = ["SIMULATED_SIZE_MAX", "SIZE_MAX", "RunOrder", "WorldKind", "WorldSpec"]

SIZE_MAX = 256  # processes
SIMULATED_SIZE_MAX = 4096


class WorldSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a world is made with, as far as its ranks depend on it; see `faultkit.worlds.world.World`."""

    size: int
    kind: str
    backend: str
    group_timeout_seconds: float | None
    preload: tuple[str, ...]
    gpus_per_rank: int
    launcher: str

    @property
    def title(self) -> str:
        """As errors and the slots name the world."""
        return f"World({self.size}, kind={self.kind!r})"


class RunOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One run: the call for every rank, and what only the parent needs.

    `schedule` is the order that simulated ranks follow.  `module` is what a rank would import for the function, where
    only this process knows how to load it.
    """

    call: Call
    timeout_seconds: float
    may_not_fire: bool
    schedule: Schedule | None
    module: str | None


class WorldKind(Protocol):
    """The ranks of one world.  Made with the world; no process is started before `start` or `run`."""

    name: ClassVar[str]
    size_max: ClassVar[int]
    is_simulated: ClassVar[bool]  # its ranks are threads of one process
    follows_schedules: ClassVar[bool]
    keeps_ranks: ClassVar[bool]  # or their host: they serve run after run while they are healthy
    afresh: ClassVar[str]  # the kind that does the same on ranks that no run has used
    confirmed_by: ClassVar[
        str
    ]  # the kind on which a sweep runs again what broke; empty where its own runs count

    def __init__(self, spec: WorldSpec) -> None: ...

    @classmethod
    def require_spec(cls, spec: WorldSpec) -> None:
        """Raise ValueError, with the nearest kind, for a world that cannot be of this kind."""

    def supports(self, plan: FaultPlan) -> bool:
        """Whether every fault of the plan can happen to these ranks."""

    def require(self, plan: FaultPlan, schedule: Schedule | None = None) -> None:
        """Raise PlanError for a plan that these ranks do not support, ValueError for a schedule they do not follow."""

    def start(self) -> None:
        """Start the ranks now, and wait until they have formed their group.  Raises HarnessError."""

    def run(self, order: RunOrder) -> Run:
        """Carry the order out on every rank, which are started where there are none.

        Raises ValueError once the kind is closed, HarnessError where ranks cannot be started, or faultkit itself
        failed on one, and NotSimulatedError where the function does what simulated ranks cannot.
        """

    def pids(self) -> dict[int, int]:
        """The process number of each live rank; empty while none is started."""

    def restart(self) -> None:
        """End the ranks; the next run has new ones."""

    def close(self) -> None:
        """End the ranks for good; returns when they are gone.  Closing twice is fine."""
