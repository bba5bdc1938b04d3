"""Makes a history that breaks a promise as small as it can be: `smallest`.

A history is a list of plain values that can be run again, so it is made smaller as such: step by step, fault by
fault, and not by the choices that drew it, of which there are many more.  What comes out breaks the same
promise, and no move that there is here makes it smaller in this order:

    fewest steps, then fewest faults, then fewest ranks that fail, then the smallest worlds, then the lowest ranks,
    the earliest points, the simplest actions, the smallest numbers

Not covered: a smaller history to which no row of such moves leads.  How a history is run is the caller's matter.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from faultkit.history.steps import KEEPING, Step
from faultkit.plan import Fault, FaultPlan, PlanError
from faultkit.plan.actions import Action

__all__ = ["smallest"]

History = tuple[Step, ...]
Points = Mapping[str, Sequence[tuple[str, str]]]
CHOICES_OF_WORLDS_MAX = 30
HISTORIES_OF_A_LENGTH_MAX = 100
_SIMPLEST = Action("raise", (("exception", "ValueError"),))


def smallest(
    history: History,
    fails: Callable[[History], bool],
    *,
    points: Points | None = None,
    fewest_ranks: int = 1,
    runs_max: int = 1_000,
) -> History:
    """The smallest history that `fails`, which `history` does, as the moves above find it.

    `points` holds, by the word of a step, (point, moment), earliest first; a fault at one of them is tried at the
    others.  No world gets smaller than `fewest_ranks`.  `fails` is asked at most `runs_max` times, and never twice
    for the same history.
    """
    points = points or {}
    asked: dict[History, bool] = {history: True}

    def still_fails(candidate: History) -> bool:
        if candidate not in asked:
            if len(asked) > runs_max:
                return False
            asked[candidate] = fails(candidate)
        return asked[candidate]

    best = history
    while True:
        moves = (one for one in _moves(best, points) if min(_worlds(one)) >= fewest_ranks)
        smaller = next(filter(still_fails, moves), None)
        if smaller is None:
            return best
        best = smaller


def _moves(best: History, points: Points) -> Iterator[History]:
    """Valid candidates that are smaller than `best`, those that promise most first; each once."""
    size, given = _size(best, points), {best}
    for candidate in itertools.chain(
        _fewer_steps(best),
        _fewer_faults(best),
        _fewer_ranks(best),
        _plainer_steps(best),
        _smaller_worlds(best),
        _simpler_faults(best, points),
        _worlds_changed(best),
        _smaller_with_another_fault(best, points),
        _shorter_of_the_same_steps(best),
    ):
        fitted = _fitted(candidate)
        if fitted is not None and fitted not in given and _size(fitted, points) < size:
            given.add(fitted)
            yield fitted


def _fewer_steps(best: History) -> Iterator[History]:
    length = len(best) // 2
    while length:
        for first in range(len(best) - length, 0, -1):
            removed = best[first : first + length]
            yield best[:first] + best[first + length :]
            worlds = [step.number for step in removed if step.word == "restart"]
            if worlds:  # the job then had that many ranks from where it last started
                before = _with_last_world(best[:first], worlds[-1])
                yield before + best[first + length :]
        length = length // 2


def _with_last_world(steps: History, number: int) -> History:
    place = max(place for place, step in enumerate(steps) if step.word in ("start", "restart"))
    return _put(steps, place, msgspec.structs.replace(steps[place], number=number))


def _fewer_faults(best: History) -> Iterator[History]:
    for place, step in enumerate(best):
        faults = step.plan.faults
        for left_out in reversed(range(len(faults))):
            yield _with_faults(best, place, faults[:left_out] + faults[left_out + 1 :])


def _fewer_ranks(best: History) -> Iterator[History]:
    for place, number, fault, ranks in _faults(best):
        if len(ranks) > 1:
            for kept in ([rank] for rank in ranks):
                yield _with_ranks(best, place, number, fault, kept)
            for left_out in reversed(ranks):
                yield _with_ranks(best, place, number, fault, [rank for rank in ranks if rank != left_out])


def _plainer_steps(best: History) -> Iterator[History]:
    for place, step in enumerate(best):
        if step.word == "overwrite":
            yield _put(best, place, msgspec.structs.replace(step, word="save"))
        if step.word in ("save_and_prune", "saves_in_flight"):
            yield _put(best, place, msgspec.structs.replace(step, word="save", number=0))


def _smaller_worlds(best: History) -> Iterator[History]:
    worlds = [place for place, step in enumerate(best) if step.word in ("start", "restart")]
    most = max(best[place].number for place in worlds)
    for number in range(1, most):
        steps = best
        for place in worlds:
            steps = _put(
                steps, place, msgspec.structs.replace(steps[place], number=min(steps[place].number, number))
            )
        yield steps
    for place in worlds:
        for number in range(1, best[place].number):
            yield _put(best, place, msgspec.structs.replace(best[place], number=number))


def _worlds_changed(best: History) -> Iterator[History]:
    """Other numbers of ranks, no more of them in all, where there are few such choices."""
    worlds = [place for place, step in enumerate(best) if step.word in ("start", "restart")]
    numbers = tuple(best[place].number for place in worlds)
    if math.prod([max(numbers)] * len(numbers)) > CHOICES_OF_WORLDS_MAX:
        return
    for chosen in itertools.product(range(1, max(numbers) + 1), repeat=len(numbers)):
        if (sum(chosen), chosen) < (sum(numbers), numbers):
            steps = best
            for place, number in zip(worlds, chosen, strict=True):
                steps = _put(steps, place, msgspec.structs.replace(steps[place], number=number))
            yield steps


def _simpler_faults(best: History, points: Points) -> Iterator[History]:
    for place, number, fault, ranks in _faults(best):
        here = (fault.point, fault.moment)
        sites = points.get(best[place].word, ())
        for first in range(ranks[0] + 1):
            lower = tuple(rank - ranks[0] + first for rank in ranks)
            for point, moment in sites if here in sites else [here]:
                yield from _with_fault(best, place, number, fault, ranks=lower, point=point, moment=moment)
        yield from _with_fault(best, place, number, fault, action=_SIMPLEST)
    for place, step in enumerate(best):
        if step.word in (*KEEPING, "saves_in_flight"):
            for number in range(1, step.number):
                yield _put(best, place, msgspec.structs.replace(step, number=number))


def _smaller_with_another_fault(best: History, points: Points) -> Iterator[History]:
    """What takes two moves at once: a step or a rank less shows the same only with a fault elsewhere."""
    if sum(len(step.plan.faults) for step in best) > 1:
        return
    for shorter in map(_fitted, itertools.chain(_fewer_steps(best), _smaller_worlds(best))):
        if shorter is not None and len(shorter) >= len(best) - 1:
            for place, number, fault, _ in _faults(shorter):
                for point, moment in points.get(shorter[place].word, ()):
                    yield from _with_fault(shorter, place, number, fault, point=point, moment=moment)


def _shorter_of_the_same_steps(best: History) -> Iterator[History]:
    """Every shorter history of the same steps in any order, as far as these are few."""
    plain = [msgspec.structs.replace(step, plan=FaultPlan()) for step in best[1:] if step.word not in KEEPING]
    known = list(dict.fromkeys([*best[1:], *plain]))
    for length in range(len(best) - 2):
        if len(known) ** length > HISTORIES_OF_A_LENGTH_MAX:
            return
        for between in itertools.product(known, repeat=length):
            yield (best[0], *between, best[-1])


# -- pieces ------------------------------------------------------------------------------------------------


def _put(steps: History, place: int, step: Step) -> History:
    return (*steps[:place], step, *steps[place + 1 :])


def _with_faults(steps: History, place: int, faults: Sequence[Fault]) -> History:
    return _put(steps, place, msgspec.structs.replace(steps[place], plan=FaultPlan(tuple(faults))))


def _with_fault(steps: History, place: int, number: int, fault: Fault, **changes: Any) -> Iterator[History]:
    faults = list(steps[place].plan.faults)
    try:
        faults[number] = _changed(fault, **changes)
        yield _with_faults(steps, place, faults)
    except PlanError:
        pass  # an action that cannot happen at this point


def _changed(fault: Fault, **changes: Any) -> Fault:
    return Fault(**{**msgspec.structs.asdict(fault), **changes})


def _with_ranks(steps: History, place: int, number: int, fault: Fault, ranks: Sequence[int]) -> History:
    return next(_with_fault(steps, place, number, fault, ranks=tuple(ranks)))


def _worlds(steps: History) -> Iterator[int]:
    """How many ranks there are at each step."""
    size = 1
    for step in steps:
        size = step.number if step.word in ("start", "restart") else size
        yield size


def _faults(steps: History) -> Iterator[tuple[int, int, Fault, list[int]]]:
    """The place of its step, its number in the plan, each fault, and the ranks that it hits."""
    for place, (step, size) in enumerate(zip(steps, _worlds(steps), strict=True)):
        for number, fault in enumerate(step.plan.faults):
            ranks = [rank for rank in range(size) if fault.matches_rank(rank, size)]
            if ranks:
                yield place, number, fault, ranks


def _fitted(steps: History) -> History | None:
    """The history with the faults of ranks that its worlds do not have moved to their last rank."""
    if any(step.word == "start" for step in steps[1:]) or steps[0].word != "start":
        return None
    for place, size in enumerate(_worlds(steps)):
        faults = []
        for fault in steps[place].plan.faults:
            if (
                any(fault.matches_rank(rank, 10 * size) for rank in range(size, 10 * size))
                and fault.ranks[0].isdigit()
            ):
                ranks = {
                    min(rank, size - 1) for rank in range(10 * size) if fault.matches_rank(rank, 10 * size)
                }
                fault = _changed(fault, ranks=tuple(sorted(ranks)))
            faults.append(fault)
        if faults != list(steps[place].plan.faults):
            steps = _with_faults(steps, place, faults)
    return steps


def _size(steps: History, points: Points) -> tuple[object, ...]:
    faults = list(_faults(steps))
    ranks = [tuple(hit) for *_, hit in faults]
    worlds = [step.number for step in steps if step.word in ("start", "restart")]
    places = [
        known.index(here) if (here := (fault.point, fault.moment)) in known else len(known)
        for place, _, fault, _ in faults
        for known in (points.get(steps[place].word, ()),)
    ]
    actions = [
        (fault.action != _SIMPLEST, not fault.action.raises, str(fault.action)) for _, _, fault, _ in faults
    ]
    return (
        len(steps),
        sum(len(step.plan.faults) for step in steps),
        sum(map(len, ranks)),
        sum(step.word in ("overwrite", "save_and_prune", "saves_in_flight") for step in steps),
        sum(worlds),
        worlds,
        ranks,
        places,
        actions,
        [step.number for step in steps],
    )
