"""Kind ``simulated``: the ranks are threads of one process, their host, under a scheduler.

Guarantees: a world, a plan or a schedule that such ranks cannot have is refused before anything starts, with what is
nearest.  The host serves run after run while nothing is left in it.  Not covered: how it works
(`faultkit.worlds.simulated`).
"""

from __future__ import annotations

from typing import Any, ClassVar

from faultkit.exceptions import ArgumentError
from faultkit.plan import FaultPlan
from faultkit.processes.launch import Launch
from faultkit.worlds.kinds.process_kind import ProcessKind
from faultkit.worlds.kinds.world_kind import SIMULATED_SIZE_MAX, RunOrder, WorldSpec
from faultkit.worlds.rank_processes import RankProcesses
from faultkit.worlds.simulated import plans
from faultkit.worlds.simulated.messages import Schedule

__all__ = ["Simulated"]


class Simulated(ProcessKind):
    """One host for all ranks."""

    name: ClassVar[str] = "simulated"
    afresh: ClassVar[str] = "simulated"  # each run has new ranks in any case
    size_max: ClassVar[int] = SIMULATED_SIZE_MAX
    is_simulated: ClassVar[bool] = True
    follows_schedules: ClassVar[bool] = True
    keeps_ranks: ClassVar[bool] = True
    launch: ClassVar[Launch] = Launch(
        "faultkit.worlds.simulated.host:main", prepare="faultkit.worlds.simulated.host:prepare"
    )

    @property
    def process_count(self) -> int:
        return 1

    @classmethod
    def require_spec(cls, spec: WorldSpec) -> None:
        if what := cls.unfit(spec):
            raise ArgumentError(
                "World",
                f"simulated ranks talk as gloo does, or not at all, and have no GPUs (got {what}); "
                "nearest is kind='fresh'",
            )

    @staticmethod
    def unfit(spec: WorldSpec) -> str:
        """The argument of the world that simulated ranks cannot have; empty where there is none."""
        if spec.backend not in ("gloo", ""):
            return f"backend={spec.backend!r}"
        return f"gpus_per_rank={spec.gpus_per_rank!r}" if spec.gpus_per_rank else ""

    def supports(self, plan: FaultPlan) -> bool:
        return plans.can_carry(plan)

    def require(self, plan: FaultPlan, schedule: Schedule | None = None) -> None:
        plans.require_carried(plan)

    def supervision(self, processes: RankProcesses, order: RunOrder) -> Any:
        from faultkit.worlds.simulated.supervision import supervise

        return supervise(
            processes,
            order.call,
            self.spec.size,
            order.timeout_seconds,
            self.spec.backend,
            self.spec.group_timeout_seconds,
            order.schedule,
            self.spec.launcher,
        )
