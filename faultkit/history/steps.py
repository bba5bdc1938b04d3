"""The steps of a history as plain values, which can be printed, pasted and run again.

    ("start", 2)                a job of 2 ranks starts in an empty folder
    ("save",)                   the job saves its next step
    ("save", "PLAN")            the same while the faults of a plan of the grammar happen
    ("overwrite",)              the job saves the step that it is at once more; also with a plan
    ("restart", 3)              the job ends, starts again on 3 ranks and loads the latest; also with a plan
    ("prune", 1)                all but the newest one is pruned; also with a plan
    ("save_and_prune", 1)       the next step is saved asynchronously, and all but the newest one is pruned before it is
                                waited for; also with a plan
    ("saves_in_flight", 2)      so many next steps are saved asynchronously, each begun before the one before is waited
                                for, while the state changes; then each is waited for; also with a plan

Not covered: whether a step can come where it stands, which depends on what the steps before it came to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from faultkit.messages import nearest, seen
from faultkit.plan import FaultPlan, PlanError

__all__ = ["KEEPING", "WORDS", "Step", "read_history", "read_step"]

WORDS = ("start", "save", "overwrite", "restart", "prune", "save_and_prune", "saves_in_flight")
KEEPING = ("prune", "save_and_prune")
RANKS_MAX = 256
KEEP_MAX = 1_000_000
IN_FLIGHT_MAX = 16


_NUMBERED = {
    **dict.fromkeys(("start", "restart"), ("ranks", RANKS_MAX)),
    **dict.fromkeys(KEEPING, ("checkpoints to keep", KEEP_MAX)),
    "saves_in_flight": ("saves", IN_FLIGHT_MAX),
}


class Step(msgspec.Struct, frozen=True):
    """One step.  `number` is that of the ranks of start and restart, how many a prune keeps, and how many
    saves are in flight; else 0."""

    word: str
    number: int = 0
    plan: FaultPlan = FaultPlan()

    def __repr__(self) -> str:
        return repr(self.value())

    def value(self) -> tuple[Any, ...]:
        """The step as a tuple of plain values, as short as it can be."""
        number = (self.number,) if self.number else ()
        return (self.word, *number, *((str(self.plan),) if self.plan else ()))


def read_step(value: object) -> Step:
    """The step that a tuple of plain values says.  Raises ValueError."""
    if isinstance(value, Step):
        return value
    if not isinstance(value, tuple | list) or not value:
        raise ValueError(
            f'a step of a history is a tuple such as ("save",) or ("restart", 2) (got {seen(value)})'
        )
    word, *arguments = value
    if word not in WORDS:
        raise ValueError(
            f"a step of a history is one of {', '.join(WORDS)} (got {seen(word)}){nearest(word, WORDS)}"
        )
    number: Any = 0
    if word in _NUMBERED:
        number = arguments.pop(0) if arguments else None
        what, most = _NUMBERED[word]
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
            raise ValueError(f"step {word!r} takes a number of {what} from 1 to {most} (got {seen(number)})")
    plan = FaultPlan()
    if arguments and word != "start":
        plan = _plan(word, arguments.pop(0))
    if arguments:
        raise ValueError(f"step {word!r} takes no argument {seen(arguments[0])}")
    return Step(word, number, plan)


def read_history(values: object) -> tuple[Step, ...]:
    """The steps of a history, of which the first, and no other, is a start.  Raises ValueError."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ValueError(f"a history is a list of steps (got {seen(values)})")
    steps = tuple(map(read_step, values))
    starts = [place for place, step in enumerate(steps) if step.word == "start"]
    if starts != [0]:
        raise ValueError(
            'a history begins with its only start, such as ("start", 2) '
            f"(got {'none' if not starts else 'steps ' + ', '.join(str(place + 1) for place in starts)})"
        )
    return steps


def _plan(word: str, given: object) -> FaultPlan:
    if isinstance(given, FaultPlan):
        return given
    if not isinstance(given, str):
        raise ValueError(f"step {word!r} takes a plan as text (got {seen(given)})")
    try:
        return FaultPlan.parse(given)
    except PlanError as error:
        raise ValueError(f"step {word!r}: {error}") from None
