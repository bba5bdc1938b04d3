"""What each rank went through, read off the events that it recorded: attempts, their steps, fired faults.

The events of one rank are ordered, so each fired fault is placed by its position among them: in which attempt
and in which step of it.  A rank's own clock is not needed for that; only a fired fault that left no event is
placed by its time.  The attempts without a fault that `World.run` can let follow are not part of it: the run
itself has what became of them.  Nothing is judged here, and anything missing or odd in the events is read as
absent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from faultkit.plan import Fault
from faultkit.runs.outcomes import ErrorRecord, Event, Fired
from faultkit.runs.run import Run

__all__ = ["Place", "Span", "Step", "Timeline", "same_error", "timelines_of"]

_CUT = re.compile(r" \.\.\. \(\d+ characters\)\Z")  # the mark that a message cut short carries


class Step(msgspec.Struct):
    """One collective step of the engine on one rank."""

    name: str
    operation: str
    begin_seconds: float
    end_seconds: float | None = None
    ok: bool | None = None


class Span(msgspec.Struct):
    """One attempt as one rank recorded it.  `ok` is None while it has no end.

    `is_expected` tells whether the function said that it expects its error.  `group` holds the global ranks of its
    process group in group order, None where the event does not say.  `child` is the process of the rank that made it, 0
    for the rank itself, and `own_number` the number that it gave the attempt.
    """

    op: str
    number: int
    group: tuple[int, ...] | None
    begin_seconds: float
    child: int = 0
    own_number: int = 0
    end_seconds: float | None = None
    ok: bool | None = None
    error: ErrorRecord | None = None
    is_expected: bool = False
    steps: list[Step] = msgspec.field(default_factory=list)


class Place(msgspec.Struct, frozen=True):
    """Where in a rank's story something happened.

    `span` is the index of the attempt among the rank's own, None outside of any, and then `gap` says how many
    attempts the rank had begun.  `order` counts the steps begun within that attempt or gap, 1-based; `step`
    is the name of the step it happened in, None between steps.
    """

    span: int | None
    gap: int
    order: int = 0
    step: str | None = None


class Timeline(msgspec.Struct, frozen=True):
    """The story of one rank.  `fired` pairs each fired fault with its place and with whether a later call of
    the same point in the same step came back well (a retry that worked); `expected` has the errors that the function
    said it expects, each with its time, but for those of attempts."""

    rank: int
    spans: tuple[Span, ...]
    fired: tuple[tuple[Fired, Place, bool], ...]
    expected: tuple[tuple[float, ErrorRecord], ...] = ()


def timelines_of(run: Run, ranks: Iterable[int]) -> dict[int, Timeline]:
    """Read the events of each of `ranks`; never raises on missing or malformed data."""
    plan = tuple(run.plan)
    readers = {rank: _Reader(plan, rank) for rank in ranks}
    for fired in run.fired:
        readers[fired.rank].unplaced.append(fired)
    for event in run.events:
        readers[event.rank].read(event)
    return {rank: reader.finish() for rank, reader in readers.items()}


class _Reader:
    def __init__(self, plan: tuple[Fault, ...], rank: int) -> None:
        self.rank = rank
        self.plan = plan
        self.unplaced: list[Fired] = []
        self.spans: list[Span] = []
        self.open_spans: list[int] = []
        self.gap_steps: list[Step] = []
        self.open_steps: list[Step] = []
        self.placed: list[tuple[Fired, Place]] = []
        self.good_calls: list[tuple[str, int, Place, str]] = []
        self.is_over = False
        self.expected: list[tuple[float, ErrorRecord]] = []

    def read(self, event: Event) -> None:
        data = event.data if isinstance(event.data, dict) else {}
        if self.is_over and event.kind != "attempt_end":
            return  # of what was still going on when the attempts without a fault began, only the end counts
        match event.kind:
            case "again":
                self.is_over = True
            case "attempt_begin":
                child = _number(data.get("child"), 0)
                own = _number(data.get("attempt"), len(self.spans) + 1)
                # where children make some, those of a rank are counted together
                is_shared = child or any(span.child for span in self.spans)
                number = len(self.spans) + 1 if is_shared else own
                op = str(data.get("op", "attempt"))
                self.spans.append(Span(op, number, _group(data.get("ranks")), event.seconds, child, own))
                self.open_spans.append(len(self.spans) - 1)
                self.gap_steps, self.open_steps = [], []
            case "attempt_end":
                self.end_attempt(event, data)
            case "step_begin":
                step = Step(str(data.get("step", "")), str(data.get("op", "")), event.seconds)
                (self.spans[self.open_spans[-1]].steps if self.open_spans else self.gap_steps).append(step)
                self.open_steps.append(step)
            case "step_end":
                names = [step.name for step in self.open_steps]
                if data.get("step") in names:
                    step = self.open_steps.pop(len(names) - 1 - names[::-1].index(data["step"]))
                    step.end_seconds, step.ok = event.seconds, bool(data.get("ok"))
            case "fired":
                self.place(event, data)
            case "expected":
                self.expect(event.seconds, _error(data.get("error")))
            case "called" if data.get("ok"):
                site = str(data.get("site") or data.get("point", ""))
                path = str(data.get("path", ""))
                self.good_calls.append((site, _number(data.get("call"), 0), self.here(), path))

    def end_attempt(self, event: Event, data: dict[str, Any]) -> None:
        named = [
            index
            for index in self.open_spans
            if self.spans[index].op == data.get("op", self.spans[index].op)
            and self.spans[index].own_number == data.get("attempt", self.spans[index].own_number)
            and self.spans[index].child == _number(data.get("child"), 0)
        ]
        if not named:
            return
        self.open_spans.remove(named[-1])
        span = self.spans[named[-1]]
        span.end_seconds, span.ok = event.seconds, bool(data.get("ok"))
        span.error = None if span.ok else _error(data.get("error"))
        self.gap_steps, self.open_steps = [], []

    def expect(self, seconds: float, error: ErrorRecord | None) -> None:
        if error is None:
            return
        failed = [span for span in self.spans if span.ok is False and not span.is_expected]
        last = failed[-1].error if failed else None
        if last is not None and any(same_error(link, last) for link in error.chain()):
            failed[-1].is_expected = True
        else:
            self.expected.append((seconds, error))

    def here(self, step: str | None = None) -> Place:
        span = self.open_spans[-1] if self.open_spans else None
        order = len(self.gap_steps if span is None else self.spans[span].steps)
        inside = self.open_steps[-1].name if self.open_steps else None
        return Place(span, len(self.spans), order, step or inside)

    def place(self, event: Event, data: dict[str, Any]) -> None:
        index = data.get("fault")
        fault = self.plan[index] if isinstance(index, int) and 0 <= index < len(self.plan) else None
        for fired in self.unplaced:
            if fired.call == data.get("call", fired.call) and (
                fired.fault == fault if fault is not None else fired.point == data.get("point")
            ):
                self.unplaced.remove(fired)
                break
        else:
            if fault is None:
                return
            call = _number(data.get("call"), 1)
            files = str(data.get("path", "")), str(data.get("thread", ""))
            point = str(data.get("point", ""))
            fired = Fired(fault, self.rank, call, event.seconds, data.get("step"), point, *files)
            fired = msgspec.structs.replace(fired, child=bool(data.get("child")))
        place = self.here(fired.step)
        if fired.fault.is_outside:
            place = msgspec.structs.replace(place, step=None)
        self.placed.append((fired, place))

    def finish(self) -> Timeline:
        for fired in self.unplaced:
            self.placed.append((fired, self.by_time(fired)))
        self.placed.sort(key=lambda pair: pair[0].seconds)
        return Timeline(
            self.rank,
            tuple(self.spans),
            tuple((fired, place, self.retried(fired, place)) for fired, place in self.placed),
            tuple(self.expected),
        )

    def by_time(self, fired: Fired) -> Place:
        begun = 0
        for index, span in enumerate(self.spans):
            if span.begin_seconds > fired.seconds:
                break
            begun = index + 1
            if span.end_seconds is None or fired.seconds <= span.end_seconds:
                order = sum(step.begin_seconds <= fired.seconds for step in span.steps)
                return Place(index, begun, order, fired.step)
        return Place(None, begun, 1 if fired.step else 0, fired.step)

    def retried(self, fired: Fired, place: Place) -> bool:
        # Of a fault on files the calls are counted on its own files, and one on another file makes nothing good.
        sites = {fired.fault.site} if fired.path else {fired.point, fired.fault.point}
        return any(
            site in sites
            and path == fired.path
            and call > fired.call
            and (there.span, there.gap, there.order) == (place.span, place.gap, place.order)
            for site, call, there, path in self.good_calls
        )


def _number(value: Any, default: int) -> int:
    return value if isinstance(value, int) else default


def _group(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        ranks = tuple(value)
        if ranks and all(isinstance(rank, int) for rank in ranks):
            return ranks
    return None


def same_error(one: ErrorRecord, other: ErrorRecord) -> bool:
    """The same error, where one of the two may have been cut short to fit into a record."""
    if one.type_name != other.type_name:
        return False
    heads = [_CUT.sub("", error.message) for error in (one, other)]
    return heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])


def _error(value: Any) -> ErrorRecord | None:
    if isinstance(value, ErrorRecord):
        return value
    if not isinstance(value, dict):
        return None
    try:
        return msgspec.convert(value, ErrorRecord, strict=False)
    except msgspec.ValidationError:
        return ErrorRecord(type_name=str(value.get("type_name", "")), message=str(value.get("message", "")))
