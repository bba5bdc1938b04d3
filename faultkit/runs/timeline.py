"""A run as lanes, one for each rank: saves and loads with their steps, faults, when it knew, how it ended.

Guarantees: times are those that the ranks recorded, in seconds from the start of the run; of simulated ranks on their
own clock.  Not covered: what nobody recorded, such as the time within a collective, and drawing (the page's script).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from faultkit.runs.run import Run

__all__ = ["Lane", "Timeline", "timeline_of"]

SPANS_MAX = 400  # of a lane; what comes later is left out, and counted
TEXT_MAX = 200


class Lane(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rank.  `spans` are [start, stop or null, "save" or "step", name, ok]; `marks` are [time, kind, text].

    `end` is its outcome and `waiting` for what it waited then; `knew` is when an error first reached its function.
    """

    rank: int
    spans: tuple[tuple[float, float | None, str, str, bool], ...] = ()
    marks: tuple[tuple[float, str, str], ...] = ()
    end: str = ""
    waiting: str = ""
    knew: float | None = None
    left_out: int = 0


class Timeline(msgspec.Struct, frozen=True, omit_defaults=True):
    seconds: float
    lanes: tuple[Lane, ...]
    clock: str = ""


def timeline_of(run: Run) -> Timeline:
    """The lanes of `run`."""
    events = run.events
    by_rank: dict[int, list[Any]] = {rank: [] for rank in run.outcomes}
    for event in events:
        by_rank.setdefault(event.rank, []).append(event)
    end = max((event.seconds for event in events), default=0.0)
    zero = run.fired[0].seconds if run.fired else 0.0
    known = run.seconds_to_know
    lanes = []
    for rank, own in sorted(by_rank.items()):
        spans, marks = _spans(own), _marks(own)
        outcome = run.outcomes.get(rank)
        knew = known.get(rank)
        lanes.append(
            Lane(
                rank,
                tuple(spans[:SPANS_MAX]),
                tuple(marks[:SPANS_MAX]),
                getattr(outcome, "kind", ""),
                str(getattr(outcome, "waiting", ""))[:TEXT_MAX],
                None if knew is None else round(knew + zero, 6),
                max(0, len(spans) - SPANS_MAX) + max(0, len(marks) - SPANS_MAX),
            )
        )
    return Timeline(round(end, 6), tuple(lanes), "simulated" if run.simulation is not None else "")


def _spans(events: list[Any]) -> list[tuple[float, float | None, str, str, bool]]:
    spans: list[list[Any]] = []
    attempts: list[list[Any]] = []
    steps: list[list[Any]] = []
    for event in events:
        at, data = round(event.seconds, 6), event.data
        match event.kind:
            case "attempt_begin":
                attempts.append(
                    [at, None, "save", f"{data.get('op', '')} {data.get('attempt', '')}".strip(), True]
                )
                spans.append(attempts[-1])
            case "attempt_end":
                for span in attempts[-1:]:
                    span[1], span[4] = at, bool(data.get("ok", True))
                    attempts.pop()
            case "step_begin":
                steps.append([at, None, "step", str(data.get("step", "")), True])
                spans.append(steps[-1])
            case "step_end":
                for span in steps[-1:]:
                    span[1], span[4] = at, bool(data.get("ok", True))
                    steps.pop()
    return [tuple(span) for span in spans]


def _marks(events: list[Any]) -> list[tuple[float, str, str]]:
    marks = []
    for event in events:
        at, data = round(event.seconds, 6), event.data
        match event.kind:
            case "fired":
                what = " ".join(str(part) for part in (data.get("point", ""), data.get("path", "")) if part)
                marks.append(
                    (
                        at,
                        "fault",
                        f"fault {data.get('fault', 0) + 1}: call {data.get('call', '?')} of {what}"[
                            :TEXT_MAX
                        ],
                    )
                )
            case "called":
                what = " ".join(str(part) for part in (data.get("point", ""), data.get("path", "")) if part)
                marks.append((at, "call" if data.get("ok", True) else "failed call", what[:TEXT_MAX]))
            case "ended":
                marks.append((at, "error", "the function raised"))
            case "again":
                marks.append((at, "again", f"attempt {data.get('number', '')} without a fault"))
    return marks
