"""Builds finished runs from frozen values, one event after the other, for tests of checks and reports.

A `Recording` is told what happened in order and gives a run with the attributes that a world's run has.
`reported_save` writes down what the stock engine does when faults fire in one step of a save.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from faultkit.plan import FaultPlan
from faultkit.runs.outcomes import Died, ErrorRecord, Event, Fired, Hung, Outcome, Raised, Returned
from faultkit.runs.readback import Readback
from faultkit.runs.selection import ALL, Chosen

STEPS = {"save": ("plan", "write"), "load": ("plan", "read")}


class FinishedRun(msgspec.Struct):
    """What the checks read of a run."""

    plan: FaultPlan
    world_size: int
    outcomes: dict[int, Outcome]
    fired: tuple[Fired, ...] = ()
    events: tuple[Event, ...] = ()
    output: dict[int, str] = {}
    kind: str = "warm"
    seconds: float = 1.5
    coordinator: int = 0
    timeout_seconds: float | None = None
    chosen: Chosen = ALL
    kept_residue: dict[str, int] = {}
    readbacks: tuple[Readback, ...] = ()
    attempts_after: dict[int, tuple[Outcome, ...]] = {}
    next_start: FinishedRun | None = None
    simulation: Any = None


def injected(plan: FaultPlan | str, index: int = 0) -> ErrorRecord:
    """The error that the plan's fault makes with its default message."""
    fault = list(FaultPlan.parse(str(plan)))[index]
    return ErrorRecord(
        type_name=str(fault.action["exception"]),
        message=str(fault.action.get("message") or f"injected by faultkit: {fault}"),
    )


def checkpoint_error(step: str, failures: dict[int, ErrorRecord]) -> ErrorRecord:
    told = "\n".join(f"(RANK {rank}) {error.type_name}: {error.message}" for rank, error in failures.items())
    return ErrorRecord(
        type_name="CheckpointException",
        module="torch.distributed.checkpoint.api",
        message=f"CheckpointException ranks:{failures.keys()}\n{told}",
        failures=failures,
        step=step,
    )


class Recording:
    """Events in order; each takes a millisecond."""

    def __init__(self, plan: str = "", size: int = 4) -> None:
        self.plan = FaultPlan.parse(plan)
        self.size = size
        self.events: list[Event] = []
        self.fired: list[Fired] = []
        self.outcomes: dict[int, Outcome] = {rank: Returned() for rank in range(size)}

    def event(self, rank: int, kind: str, **data: Any) -> Recording:
        self.events.append(Event(rank, len(self.events) / 1000, kind, data))
        return self

    def begin(
        self, ranks: Iterable[int], op: str = "save", attempt: int = 1, group: list[int] | None = None
    ) -> Recording:
        for rank in ranks:
            data = {} if group is None else {"ranks": group}
            self.event(rank, "attempt_begin", op=op, attempt=attempt, coordinator=0, **data)
        return self

    def enter(self, ranks: Iterable[int], step: str) -> Recording:
        for rank in ranks:
            self.event(rank, "step_begin", step=step, op="reduce_scatter", number=1)
        return self

    def leave(self, ranks: Iterable[int], step: str, failures: Iterable[int] = ()) -> Recording:
        for rank in ranks:
            self.event(
                rank, "step_end", step=step, number=1, ok=not list(failures), failures=list(failures) or None
            )
        return self

    def fire(
        self,
        rank: int,
        index: int = 0,
        *,
        step: str | None = None,
        call: int = 1,
        point: str | None = None,
        event: bool = True,
    ) -> Recording:
        fault = list(self.plan)[index]
        point = point or fault.point
        self.fired.append(Fired(fault, rank, call, len(self.events) / 1000, step, point))
        if event:
            self.event(rank, "fired", fault=index, point=point, moment=fault.moment, call=call, step=step)
        return self

    def called(self, rank: int, point: str, call: int, ok: bool = True) -> Recording:
        return self.event(rank, "called", point=point, call=call, ok=ok)

    def end(
        self, ranks: Iterable[int], error: ErrorRecord | None = None, op: str = "save", attempt: int = 1
    ) -> Recording:
        for rank in ranks:
            data = {} if error is None else {"error": msgspec.to_builtins(error, str_keys=False)}
            self.event(rank, "attempt_end", op=op, attempt=attempt, ok=error is None, **data)
        return self

    def raised(self, ranks: Iterable[int], error: ErrorRecord) -> Recording:
        return self.outcome(ranks, Raised(error))

    def outcome(self, ranks: Iterable[int], outcome: Outcome) -> Recording:
        self.outcomes |= dict.fromkeys(ranks, outcome)
        return self

    def hung(self, ranks: Iterable[int], stack: str = "", waiting: str = "") -> Recording:
        return self.outcome(ranks, Hung(stack, waiting))

    def died(
        self, ranks: Iterable[int], signal: str | None = "SIGKILL", exitcode: int | None = None
    ) -> Recording:
        return self.outcome(ranks, Died(signal, exitcode))

    def run(self, **changes: Any) -> FinishedRun:
        run = FinishedRun(self.plan, self.size, self.outcomes, tuple(self.fired), tuple(self.events))
        return msgspec.structs.replace(run, **changes)


def reported_save(
    plan: str,
    *,
    step: str,
    fired_on: dict[int, int],
    told: dict[int, ErrorRecord] | None = None,
    told_to: dict[int, ErrorRecord] | None = None,
    size: int = 4,
    op: str = "save",
) -> Recording:
    """A failed attempt: `fired_on` maps rank to the fault that fired there in `step`.

    Every rank raises a ``CheckpointException`` with the failures `told` (default: the injected errors of
    `fired_on`); `told_to` gives single ranks another error.
    """
    recording = Recording(plan, size)
    ranks = range(size)
    recording.begin(ranks, op)
    for name in STEPS[op]:
        recording.enter(ranks, name)
        if name == step:
            for rank, index in fired_on.items():
                recording.fire(rank, index, step=step)
            break
        recording.leave(ranks, name)
    if told is None:
        told = {rank: injected(plan, index) for rank, index in fired_on.items()}
    recording.leave(ranks, step, told)
    for rank in ranks:
        error = (told_to or {}).get(rank, checkpoint_error(step, told))
        recording.end([rank], error, op).raised([rank], error)
    return recording


def successful(plan: str = "", size: int = 4, op: str = "save") -> Recording:
    """An attempt in which every rank goes through every step and succeeds; nothing fires."""
    recording = Recording(plan, size)
    ranks = range(size)
    recording.begin(ranks, op)
    for name in STEPS[op]:
        recording.enter(ranks, name).leave(ranks, name)
    return recording.end(ranks, op=op)
