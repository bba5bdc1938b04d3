"""What those kinds share whose ranks live in a crew of processes: its start, its runs, its replacement, its end.

Guarantees: one run at a time.  A crew that a run damaged (a rank died or hangs, the process group is out of step,
threads are left) is replaced before the next run; so is one that is older than a module which this process has loaded
anew.  An exception in the caller, Ctrl-C and `close` end the crew.  Each run waits until there is a slot for each
process (`faultkit.processes.slots`).  Not covered: who follows a run on the crew (`supervision` of each kind).
"""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import msgspec

from faultkit.exceptions import HarnessError
from faultkit.plan import FaultPlan
from faultkit.processes import client, module_finder, slots
from faultkit.processes.launch import Launch
from faultkit.runs.outcomes import ErrorRecord, Raised
from faultkit.runs.own_failures import own_failure
from faultkit.runs.run import Run
from faultkit.worlds import stacks_on_interrupt
from faultkit.worlds.crew import Crew
from faultkit.worlds.kinds.world_kind import SIZE_MAX, RunOrder, WorldSpec
from faultkit.worlds.simulated.messages import Schedule
from faultkit.worlds.supervision import Supervision

__all__ = ["CrewKind"]


class CrewKind:
    """The base of the kinds with processes of their own, as a process for each rank has it; see `WorldKind`."""

    name: ClassVar[str]
    afresh: ClassVar[str]
    size_max: ClassVar[int] = SIZE_MAX
    is_simulated: ClassVar[bool] = False
    follows_schedules: ClassVar[bool] = False
    keeps_ranks: ClassVar[bool] = False
    confirmed_by: ClassVar[str] = ""
    launch: ClassVar[Launch] = Launch("faultkit.worlds.rank:main")
    is_preloaded: ClassVar[bool] = True  # its processes have what the fork server has imported

    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec
        self._lock = threading.Lock()
        self._crew: Crew | None = None
        self._loadings = 0
        self._claim = slots.Claim(spec.title)
        self._is_closed = False

    # -- what kinds differ in --------------------------------------------------------------------

    @property
    def process_count(self) -> int:
        """How many processes it keeps busy."""
        return self.spec.size

    def supervision(self, crew: Crew, order: RunOrder) -> Any:
        """What follows one run on the crew: its ``run(may_not_fire=...)`` gives the `Run`."""
        return Supervision(crew, order.call, order.timeout_seconds, self.name, self.spec.launcher)

    @classmethod
    def require_spec(cls, spec: WorldSpec) -> None:
        """Nothing: whatever torch and the machine have, processes can have."""

    def supports(self, plan: FaultPlan) -> bool:
        """True: whatever can happen at all can happen to a process."""
        return True

    def require(self, plan: FaultPlan, schedule: Schedule | None = None) -> None:
        """Raise ValueError for a schedule: nobody can hold processes to one."""
        if schedule is not None:
            raise ValueError(f"{self.spec.title}: only simulated ranks follow a schedule (got {schedule!r})")

    # -- what they share -------------------------------------------------------------------------

    def start(self) -> None:
        with self._lock:
            self._take_slots()
            try:
                self._ready_crew(None).wait_ready()
            finally:
                self._claim.give(gpus=self._crew is None)

    def run(self, order: RunOrder) -> Run:
        with self._lock:
            self._take_slots()
            try:
                crew = self._ready_crew(order.module)
                supervision = self.supervision(crew, order)
                with stacks_on_interrupt.watched(supervision):
                    run: Run = supervision.run(may_not_fire=order.may_not_fire)
                _require_whole(run)
            except BaseException:
                self._end_crew()
                raise
            else:
                if not (self.keeps_ranks and crew.healthy):
                    self._end_crew()
            finally:
                self._claim.give(gpus=self._crew is None)
        return run

    def pids(self) -> dict[int, int]:
        return self._crew.pids() if self._crew is not None else {}

    def renew(self) -> None:
        with self._lock:
            self._end_crew()

    def close(self) -> None:
        self._is_closed = True
        self._end_crew()
        self._claim.close()

    def _take_slots(self) -> None:
        if self._is_closed:
            raise ValueError(f"{self.spec.title} is closed")
        self._claim.take(self.process_count, gpus=self.spec.size * self.spec.gpus_per_rank)

    def _ready_crew(self, module: str | None) -> Crew:
        loadings = module_finder.loadings()
        if self._crew is not None and not (self._crew.whole() and loadings == self._loadings):
            self._end_crew()
        self._loadings = loadings
        if self._crew is None:
            preload = self.spec.preload + ((module,) if module is not None else ())
            self._crew = Crew(
                client.server(preload if self.is_preloaded else ()),
                self.process_count,
                launch=self.launch,
                backend=self.spec.backend,
                group_timeout_seconds=self.spec.group_timeout_seconds,
                gpus=self._claim.gpus,
            )
        return self._crew

    def _end_crew(self) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()


def _require_whole(run: Run) -> None:
    """Raises HarnessError where faultkit itself failed on a rank: what became of the others says nothing then."""
    for rank, outcome in run.outcomes.items():
        ends = [outcome, *run.attempts_after.get(rank, ())]
        errors = [end.error for end in ends if isinstance(end, Raised)]
        errors += [
            msgspec.convert(event.data["error"], ErrorRecord)
            for event in run.events
            if event.rank == rank and event.kind == "suspect"
        ]
        for error in errors:
            if why := own_failure(error):
                raise HarnessError(f"faultkit failed on rank {rank}: {why}")
