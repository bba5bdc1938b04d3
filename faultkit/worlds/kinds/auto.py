"""Kind ``auto``: simulated ranks for every run whose plan allows it, warm ranks for the others.

Guarantees: `Run.kind` tells which ones a run had; each kind is started when a run first needs it.  A run that follows a
schedule is simulated or refused.  Not covered: that processes come to the same (`faultkit.sweep.auto_kind` runs there
again what breaks a promise).
"""

from __future__ import annotations

import threading
from typing import ClassVar

import msgspec

from faultkit.plan import FaultPlan
from faultkit.runs.run import Run
from faultkit.worlds.kinds.simulated import Simulated
from faultkit.worlds.kinds.warm import Warm
from faultkit.worlds.kinds.world_kind import SIMULATED_SIZE_MAX, RunOrder, WorldKind, WorldSpec
from faultkit.worlds.simulated import plans
from faultkit.worlds.simulated.messages import Schedule

__all__ = ["Auto"]


class Auto:
    """Two other kinds, of which each plan gets the cheaper one that supports it."""

    name: ClassVar[str] = "auto"
    afresh: ClassVar[str] = "auto"
    size_max: ClassVar[int] = SIMULATED_SIZE_MAX
    is_simulated: ClassVar[bool] = False
    follows_schedules: ClassVar[bool] = True
    keeps_ranks: ClassVar[bool] = True
    confirmed_by: ClassVar[str] = "fresh"

    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec
        self._lock = threading.Lock()
        self._kinds: dict[str, WorldKind] = {}  # that have had a run, by name
        self._is_closed = False

    @classmethod
    def require_spec(cls, spec: WorldSpec) -> None:
        """Nothing: where ranks cannot be simulated, none is."""

    def supports(self, plan: FaultPlan) -> bool:
        return True

    def require(self, plan: FaultPlan, schedule: Schedule | None = None) -> None:
        if schedule is not None:  # processes follow none
            plans.require_carried(plan)
            self._kind_for(plan).require(plan, schedule)

    def start(self) -> None:
        self._kind_for(FaultPlan()).start()

    def run(self, order: RunOrder) -> Run:
        return self._kind_for(order.call.plan).run(order)

    def pids(self) -> dict[int, int]:
        return {rank: pid for kind in self._kinds.values() for rank, pid in kind.pids().items()}

    def restart(self) -> None:
        for kind in self._kinds.values():
            kind.restart()

    def close(self) -> None:
        self._is_closed = True
        for kind in self._kinds.values():
            kind.close()

    def _kind_for(self, plan: FaultPlan) -> WorldKind:
        made: type[WorldKind] = Warm
        if not Simulated.unfit(self.spec) and plans.can_carry(plan):
            made = Simulated
        with self._lock:
            if self._is_closed:
                raise ValueError(f"{self.spec.title} is closed")
            if made.name not in self._kinds:
                self._kinds[made.name] = made(msgspec.structs.replace(self.spec, kind=made.name))
            return self._kinds[made.name]
