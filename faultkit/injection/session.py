"""A session: one armed plan in one process, its counters, and what it tells the world.

Promises.  While a plan is armed, `current` gives its session to every thread of the process; a thread that is
still inside the engine afterwards finds a closed session that lets everything pass.  Calls are counted per
point, from 1, over the whole armed run.  What fires is recorded before it is performed.  Left out: a child
process that the rank starts or forks is not armed, and one process holds one session at a time.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from faultkit.injection.perform import perform
from faultkit.plan import Fault, FaultPlan

__all__ = ["Calls", "Match", "Record", "Session", "current", "lay_down", "take_up"]

Calls = tuple[tuple[str, int], ...]  # (point, number of this call of it), of one entry
Match = tuple[int, Fault, str, int]  # (index in the plan, fault, point, call)
Record = Callable[[str, dict[str, Any]], Any]


class Session:
    """The counters and the context of one armed plan.

    `rank` and `world_size` are those of the world; `coordinator` is the world's rank of the engine's
    coordinator, set by the engine hooks when an attempt begins.  `leave` becomes true when a fault asked that
    the process end after its function is over.  Once the armed session is `spent` no fault fires any more,
    also none of a faulty object with a plan of its own, while everything is recorded as before.  `fired` holds
    the data of every ``fired`` event.
    """

    def __init__(
        self, plan: FaultPlan, *, rank: int = 0, world_size: int = 1, record: Record | None = None
    ) -> None:
        self.plan = plan
        self.rank = rank
        self.world_size = world_size
        self.coordinator = 0
        self.leave = False
        self.closed = False
        self.spent = False
        self.fired: list[dict[str, Any]] = []
        self._record = record
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._rank_hits: dict[tuple[int, int, int], bool] = {}
        self._faults: dict[tuple[str, str], list[tuple[int, Fault]]] = {}
        self._open_steps: list[Any] = []
        self._thread = threading.local()
        for index, fault in enumerate(plan):
            self._faults.setdefault((fault.point, fault.moment), []).append((index, fault))
        self.points = frozenset(fault.point for fault in plan)

    def planned(self, layer: str) -> tuple[str, ...]:
        """The names of the layer's points that have a fault in the plan, sorted."""
        return tuple(
            sorted(point.partition(".")[2] for point in self.points if point.startswith(layer + "."))
        )

    def record(self, kind: str, /, **data: Any) -> None:
        """Hand one event to the world, unless the run is over."""
        if self._record is not None and not self.closed:
            self._record(kind, data)

    def enter(self, points: tuple[str, ...]) -> Calls:
        """Count one entry of each of `points`; empty where nothing is planned for them or the run is over."""
        if self.closed:
            return ()
        calls = []
        with self._lock:
            for point in points:
                if point in self.points:
                    self._counts[point] = number = self._counts.get(point, 0) + 1
                    calls.append((point, number))
        return tuple(calls)

    def matching(self, calls: Calls, moment: str) -> list[Match]:
        """The faults that fire at `moment` of these calls on this rank, in the order of the plan."""
        armed = _current
        if self.closed or self.spent or (armed is not None and armed.spent):
            return []
        found = [
            (index, fault, point, number)
            for point, number in calls
            for index, fault in self._faults.get((point, moment), ())
            if self.hits_rank(index, fault) and fault.hits_call(number)
        ]
        return sorted(found, key=lambda match: match[0]) if len(found) > 1 else found

    def act(self, calls: Calls, moment: str) -> None:
        """Record and perform the faults of `moment`; raises what a raise action raises."""
        for match in self.matching(calls, moment):
            self.fire(match, self.step)

    def hit(self, point: str, moment: str, call: int) -> None:
        """Record and perform the faults of one point at one moment of its `call`-th call."""
        self.act(((point, call),), moment)

    def fire(self, match: Match, step: str | None) -> None:
        """Record one matching fault as fired in `step`, then perform its action."""
        index, fault, point, number = match
        data = {"fault": index, "point": point, "moment": fault.moment, "call": number, "step": step}
        self.fired.append(data)
        self.record("fired", **data)
        if fault.action.get("after") == "leave":
            self.leave = True
        perform(fault.action, str(fault))

    def came_back(self, calls: Calls, ok: bool) -> None:
        """Record that the real call behind `calls` returned, or raised."""
        for point, number in calls:
            self.record("called", point=point, call=number, ok=ok)

    @property
    def step(self) -> str | None:
        """The engine's step this thread is in; a thread that is in none has the one that is open, if any."""
        stack = getattr(self._thread, "steps", None)
        if stack:
            return stack[-1]
        open_steps = self._open_steps
        return open_steps[0] if len(open_steps) == 1 else None

    @contextlib.contextmanager
    def in_step(self, step: Any) -> Iterator[None]:
        """The calling thread is in the engine's step `step` meanwhile."""
        stack = self._thread.__dict__.setdefault("steps", [])
        stack.append(step)
        with self._lock:
            self._open_steps.append(step)
        try:
            yield
        finally:
            stack.pop()
            with self._lock:
                self._open_steps.remove(step)

    def hits_rank(self, index: int, fault: Fault) -> bool:
        key = (index, self.rank, self.coordinator)
        hits = self._rank_hits.get(key)
        if hits is None:
            hits = self._rank_hits[key] = fault.hits_rank(self.rank, self.world_size, self.coordinator)
        return hits


_current: Session | None = None
_taking = threading.Lock()


def current() -> Session | None:
    """The session that is armed in this process, None where none is."""
    return _current


def take_up(session: Session) -> None:
    """Make `session` the one of this process.  Raises RuntimeError where it has one already."""
    global _current
    with _taking:
        if _current is not None:
            raise RuntimeError(
                f"this process is armed with the plan {str(_current.plan)!r} already: "
                f"leave that block before arming {str(session.plan)!r}"
            )
        _current = session


def lay_down() -> None:
    """The process has no session any more."""
    global _current
    _current = None


def _disarm_in_child() -> None:
    global _current, _taking
    _taking = threading.Lock()
    if _current is not None:
        _current.closed = True
        _current = None


os.register_at_fork(after_in_child=_disarm_in_child)
