"""What those kinds share whose ranks are processes: its start, its runs, its replacement, its end.

Guarantees: one run at a time.  Processes that a run damaged (a rank died or hangs, the process group is out of step,
threads are left) are replaced before the next run; so are those older than a module which this process has loaded
anew.  An exception in the caller, Ctrl-C and `close` end the processes.  Each run waits until there is a slot for each
process (`faultkit.processes.slots`).  Not covered: who follows a run on them (`supervision` of each kind).
"""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import msgspec

from faultkit.exceptions import HarnessError
from faultkit.injection import parts
from faultkit.plan import FaultPlan
from faultkit.processes import client, module_finder, slots
from faultkit.processes.launch import Launch
from faultkit.runs.outcomes import ErrorRecord, Raised
from faultkit.runs.own_failures import own_failure
from faultkit.runs.run import Run
from faultkit.worlds import stacks_on_interrupt
from faultkit.worlds.kinds.world_kind import SIZE_MAX, RunOrder, WorldSpec
from faultkit.worlds.rank_processes import RankProcesses
from faultkit.worlds.simulated.messages import Schedule
from faultkit.worlds.supervision import Supervision

__all__ = ["ProcessKind"]


class ProcessKind:
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
        self._processes: RankProcesses | None = None
        self._loadings = 0
        self._lease = slots.Lease(spec.title)
        self._is_closed = False

    # -- what kinds differ in --------------------------------------------------------------------

    @property
    def process_count(self) -> int:
        """How many processes it keeps busy."""
        return self.spec.size

    def supervision(self, processes: RankProcesses, order: RunOrder) -> Any:
        """What follows one run on the processes: its ``run(may_not_fire=...)`` gives the `Run`."""
        return Supervision(processes, order.call, order.timeout_seconds, self.name, self.spec.launcher)

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
                self._ready_processes(None).wait_ready()
            finally:
                self._lease.release(gpus=self._processes is None)

    def run(self, order: RunOrder) -> Run:
        with self._lock:
            self._take_slots()
            try:
                processes = self._ready_processes(order.module, parts.modules_of(order.call.plan))
                supervision = self.supervision(processes, order)
                with stacks_on_interrupt.watched(supervision):
                    run: Run = supervision.run(may_not_fire=order.may_not_fire)
                _require_whole(run)
            except BaseException:
                self._end_processes()
                raise
            else:
                if not (self.keeps_ranks and processes.healthy):
                    self._end_processes()
            finally:
                self._lease.release(gpus=self._processes is None)
        return run

    def pids(self) -> dict[int, int]:
        return self._processes.pids() if self._processes is not None else {}

    def restart(self) -> None:
        with self._lock:
            self._end_processes()

    def close(self) -> None:
        self._is_closed = True
        self._end_processes()
        self._lease.close()

    def _take_slots(self) -> None:
        if self._is_closed:
            raise ValueError(f"{self.spec.title} is closed")
        self._lease.acquire(self.process_count, gpus=self.spec.size * self.spec.gpus_per_rank)

    def _ready_processes(self, module: str | None, needed: tuple[str, ...] = ()) -> RankProcesses:
        loadings = module_finder.loadings()
        if self._processes is not None and not (self._processes.is_usable() and loadings == self._loadings):
            self._end_processes()
        self._loadings = loadings
        if self._processes is None:
            preload = self.spec.preload + needed + ((module,) if module is not None else ())
            self._processes = RankProcesses(
                client.server(preload if self.is_preloaded else ()),
                self.process_count,
                launch=self.launch,
                backend=self.spec.backend,
                group_timeout_seconds=self.spec.group_timeout_seconds,
                gpus=self._lease.gpus,
            )
        return self._processes

    def _end_processes(self) -> None:
        processes, self._processes = self._processes, None
        if processes is not None:
            processes.close()


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
