"""A session: one armed plan in one process, its counters, and what it tells the world.

Guarantees: a thread that is still inside the engine when the run is over finds a closed session that lets everything
pass.  Calls are counted per site (`session_parts.planned`), from 1, over the whole armed run.  What fires is recorded
before it is performed.  Not covered: which session is armed (`session_parts.armed`), and children of the process
(`faultkit.injection.children`, and `faultkit.injection.files.native` for those that it forks).
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.injection.perform import perform, put_back
from faultkit.injection.session_parts.armed import current
from faultkit.injection.session_parts.disk_state import Budget, Versions
from faultkit.injection.session_parts.planned import Planned
from faultkit.injection.session_parts.recovery import Recovery, site_data
from faultkit.injection.session_parts.thread_context import ThreadContext
from faultkit.plan import Fault, FaultPlan
from faultkit.plan.file_filters import ANY, CHILD, matches
from faultkit.runs import own_failures

if TYPE_CHECKING:
    from faultkit.injection.files.native import Native
    from faultkit.processes.memory import RankMemory

__all__ = ["Calls", "Match", "Record", "Session"]

Calls = tuple[tuple[str, int], ...]  # (site, number of this call of it), of one entry
Match = tuple[int, Fault, str, int]  # (index in the plan, fault, site, call)
Record = Callable[[str, dict[str, Any]], Any]


SUSPECT_LENGTH_MAX = 2_000
_IMPORTLIB = "<frozen importlib._bootstrap>"


class Session:
    """The counters and the context of one armed plan.

    `rank` and `world_size` are those of the world; `coordinator` is the world's rank of the engine's
    coordinator, set by the engine hooks when an attempt begins.  `exit_after` becomes true when a fault asked that
    the process end after its function is over.  Faults that name no path strike on real files beneath `place`
    alone, where there is one.  Once the armed session is `disarmed` no fault fires any more,
    also none of a faulty object with a plan of its own, while everything is recorded as before.  Saves record
    what they were given where `is_content_wanted`; `watches` names the checks for which more is recorded.  `fired`
    holds the data of every ``fired`` event.
    `children` is the memory of the rank, where what its children record has a place.  A session that `is_child` is that
    of one: only faults of children strike there.
    `broke_import` becomes true when a fault struck while a module was being imported: who imports it again may meet
    half of it, so the process can serve no other run.
    """

    def __init__(
        self, plan: FaultPlan, *, rank: int = 0, world_size: int = 1, record: Record | None = None
    ) -> None:
        self.plan = plan
        self.planned = Planned(plan)
        self.rank = rank
        self.world_size = world_size
        self.memory: memoryview | None = None
        self.native: Native | None = None
        self.children: RankMemory | None = None
        self.inherit: Callable[[], None] | None = None  # makes it, in a process just forked, that of a child
        self.is_child = False
        self._is_over: Callable[[], bool] | None = None
        self._seen_below: frozenset[str] = frozenset()
        self._coordinator = 0
        self._exit_after = False
        self.broke_import = False
        self.closed = False
        self._disarmed = False
        self.is_content_wanted = False
        self.watches: frozenset[str] = frozenset()
        self.collective_count = 0  # for `faultkit.injection.collective_calls`
        self.groups_told: set[str] = set()
        self.handles = 0  # of a checkpointer: `faultkit.checkpointers.rank_work`
        self.at_end: list[Callable[[], None]] = []  # called once the function is over
        self.place = ""
        self.fired: list[dict[str, Any]] = []
        # for the hooks on the engine: how many of each it has had, and saves on their way to a thread of the engine
        self.attempt_count = self.step_count = 0
        self.handed_over: list[Any] = []
        # for `faultkit.injection.engine.application`: what the last loads gave back, who gave a state, who waits for it
        self.loaded: Any = None
        self.sources: list[Any] = []
        self.pending: list[Any] = []
        self.proxies: dict[str, Any] = {}  # by the server: `faultkit.injection.requests`
        self._record = record
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._rank_hits: dict[tuple[int, int, int], bool] = {}
        self.threads = ThreadContext()
        self.recovery = Recovery(self.record, self.see_native)
        self.told: set[int] = (
            set()
        )  # faults that were come by and could not happen, of which that was recorded
        self.given: dict[str, Any] = {}  # what the last call of a site gave, where somebody is to get it
        self.versions, self.budget = Versions(), Budget()

    @property
    def coordinator(self) -> int:
        return self._coordinator

    @coordinator.setter
    def coordinator(self, rank: int) -> None:
        changed, self._coordinator = rank != self._coordinator, rank
        if changed and self.native is not None:
            self.native.aim()

    @property
    def exit_after(self) -> bool:
        self.see_native()
        return self._exit_after

    @property
    def disarmed(self) -> bool:
        """Whether no fault fires any more; what an action set for good is then put back, too."""
        return self._disarmed

    @disarmed.setter
    def disarmed(self, disarmed: bool) -> None:
        self._disarmed = disarmed
        if disarmed:
            put_back()
        if self.native is not None:
            self.native.spend(disarmed)
        if self.children is not None and not self.is_child:
            self.children.is_disarmed = disarmed

    def own(self) -> Session:
        """The session itself, where another stands for those of several ranks."""
        return self

    def end_of_work(self) -> None:
        """The function is over."""
        while self.at_end:
            self.at_end.pop()()

    def be_child(self, record: Record, is_over: Callable[[], bool]) -> None:
        """From now on it is the session of a child process, which counts its own calls, until `is_over` says so."""
        self._record, self._is_over, self.is_child = record, is_over, True
        self._seen_below = frozenset(self.native.sites) if self.native is not None else frozenset()
        self.native = self.memory = None
        self._lock, self.threads = threading.Lock(), ThreadContext()
        self._counts.clear()
        self.fired, self.handed_over, self.told, self.given = [], [], set(), {}
        self.attempt_count = self.step_count = 0
        self.is_content_wanted, self.watches = False, frozenset()
        self.recovery = Recovery(self.record, self.see_native)

    @property
    def role(self) -> str:
        """``main`` on the thread of the function, or of a step of the engine, else ``helper``."""
        if self.is_child:
            return CHILD
        return "main" if self.threads.is_main else "helper"

    def record(self, kind: str, /, **data: Any) -> None:
        """Hand one event to the world, unless the run is over."""
        if self._record is not None and not self.closed:
            self._record(kind, data)

    def suspect(self, error: BaseException) -> None:
        """Record an error that may be faultkit's own, since the code under test may swallow it; see `failing`."""
        if own_failures.is_suspect(error):
            from faultkit.injection.errors import describe

            self.record(
                "suspect", error=msgspec.to_builtins(describe(error, message_length_max=SUSPECT_LENGTH_MAX))
            )

    def enter(
        self,
        points: tuple[str, ...],
        paths: tuple[str, ...] = (),
        reads: bool = False,
        elsewhere: bool = False,
    ) -> Calls:
        """Count one entry of each of `points`; empty where nothing is planned for them or the run is over.

        Where files are concerned, `paths` are those of the call, `reads` tells whether it gets one to read, and
        `elsewhere` that it is none which a fault without a path means.
        """
        if self.closed or self.threads.is_unseen:
            return ()
        calls = []
        with self._lock:
            for point in points:
                for site in self.planned.sites.get(point, ()):
                    if (site.thread == CHILD) != self.is_child or site.key in self._seen_below:
                        continue
                    if (
                        (
                            not elsewhere
                            if site.path == ANY
                            else any(matches(site.path, path) for path in paths)
                        )
                        and (site.thread == ANY or site.thread == self.role)
                        and (reads or not site.reads)
                    ):
                        number = self.native.count(site.key) if self.native is not None else None
                        if number is None:
                            number = self._counts.get(site.key, 0) + 1
                            self._counts[site.key] = number
                        calls.append((site.key, number))
        return tuple(calls)

    def matching(self, calls: Calls, moment: str) -> list[Match]:
        """The faults that fire at `moment` of these calls on this rank, in the order of the plan."""
        if self._is_over is not None and self._is_over():
            return []
        armed = current()
        if self.closed or self.disarmed or (armed is not None and armed.disarmed):
            return []
        found = [
            (index, fault, point, number)
            for point, number in calls
            for index, fault in self.planned.faults.get((point, moment), ())
            if self.matches_rank(index, fault) and fault.matches_call(number)
        ]
        return sorted(found, key=lambda match: match[0]) if len(found) > 1 else found

    def fire_all(
        self, calls: Calls, moment: str, path: str = "", opened: str = "w", target: str = ""
    ) -> None:
        """Record and perform the faults of `moment`; raises what a raise action raises."""
        for match in self.matching(calls, moment):
            if not match[1].action.alters_value:  # which is for what the call gives
                self.fire(match, self.step_of(match[1]), path, opened, target)

    def fire(
        self, match: Match, step: str | None, path: str = "", opened: str = "w", target: str = ""
    ) -> None:
        """Record one matching fault as fired in `step`, then perform its action."""
        self.record_fired(match, step, path, opened, target)
        perform(match[1].action, str(match[1]))

    def record_fired(
        self, match: Match, step: str | None, path: str = "", opened: str = "w", target: str = ""
    ) -> None:
        """Record one matching fault as fired in `step`, on the file `path` where it is one of files.

        `opened` is what that file is open for, or was to be: "r", "w" or "rw"; `target` the new name that it was
        to have.
        """
        index, fault, site, number = match
        data = {"fault": index, "point": fault.point, "moment": fault.moment, "call": number, "step": step}
        if fault.layer == "http":
            data |= {"path": path, **site_data(fault.point, site)}
        if fault.layer == "fs":
            data |= {"path": path, "thread": self.role, **site_data(fault.point, site)}
        if fault.action.family == "time":
            data["thread_name"] = threading.current_thread().name
        self._note_fired(fault, data, opened, target)
        self.record("fired", **data)
        if fault.action.family != "time" and _is_importing():
            self.broke_import = True

    def _note_fired(self, fault: Fault, data: dict[str, Any], opened: str, target: str = "") -> None:
        self.fired.append(data)
        if fault.layer == "fs" and fault.action.error is not None:
            self.recovery.expect(fault, data, opened, target)
        if fault.action.get("after") == "leave":
            self._exit_after = True

    def see_native(self) -> None:
        """Take in what fired below Python, which is recorded already."""
        for data in self.native.fired() if self.native is not None else ():
            self._note_fired(self.plan.faults[data["fault"]], data, data["opened"])

    def take_room(self, index: int, room: int, wanted: int) -> int:
        """How many of `wanted` bytes still fit on the full disk of a fault with `room` at first."""
        taken = self.native.take(index, wanted) if self.native is not None else None
        return self.budget.take(index, room, wanted) if taken is None else taken

    def record_return(self, calls: Calls, ok: bool, path: str = "") -> None:
        """Record that the real call behind `calls` returned, or raised."""
        for site, number in calls:
            point = site.partition("(")[0].partition(" ")[0]
            where = {"path": path, **site_data(point, site)} if path else {}
            self.record("called", point=point, call=number, ok=ok, **where)

    def step_of(self, fault: Fault) -> str | None:
        """The engine's step in which `fault` would strike now on this thread."""
        return None if fault.is_outside else self.threads.step

    @contextlib.contextmanager
    def in_step(self, step: Any) -> Iterator[None]:
        """The calling thread is in the engine's step `step` meanwhile, also for what is faulted below Python."""
        native = self.native if threading.get_ident() != self.threads.main else None
        with self.threads.in_step(step):
            if native is not None:
                native.step(1)
            try:
                yield
            finally:
                if native is not None:
                    native.step(-1)

    def matches_rank(self, index: int, fault: Fault) -> bool:
        key = (index, self.rank, self.coordinator)
        hits = self._rank_hits.get(key)
        if hits is None:
            hits = self._rank_hits[key] = fault.matches_rank(self.rank, self.world_size, self.coordinator)
        return hits


def _is_importing() -> bool:
    """Whether the calling thread is in the middle of an import."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "_find_and_load" and frame.f_code.co_filename == _IMPORTLIB:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
