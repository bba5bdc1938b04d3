"""How a difference of a resumed job is said: what is there instead, of which step or rank it is, and ranks together.

Guarantees: from marks alone.  Not covered: what counts as a difference (`faultkit.resume.judge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from faultkit.checks.wording import name_ranks
from faultkit.resume.marks import RANDOM, Mark, Value
from faultkit.runs.resumption import Difference

__all__ = ["gathered", "is_same", "words_of", "words_of_data", "words_of_rank"]

NAMES_OF_STREAMS = {"python": "Python", "numpy": "numpy", "torch": "torch"}
NAMED_MAX = 3
Marks = Mapping[int, Sequence[Mark]]  # by rank; each begins with the mark of step 0


def is_same(one: Value | None, other: Value | None) -> bool:
    return one is not None and other is not None and one.digest == other.digest


def words_of(
    name: str,
    value: Value,
    there: Value | None,
    earlier: Sequence[Value | None] = (),
    made: Value | None = None,
    is_whole: bool = False,
) -> str:
    """What is wrong with `name`: what it is instead, or when it was so, or that it was not loaded."""

    def sum_of(one: Value | None) -> str:
        return "" if one is None else one.whole if is_whole else one.digest

    is_stream, said = name.startswith(RANDOM), _said(name)
    if there is None:
        return f"{said} is not there"
    steps = [step for step, one in enumerate(earlier) if sum_of(one) == sum_of(there)]
    if is_stream:
        if steps and steps[-1] == 0:
            return f"{said} start again"
        return f"{said} are those after step {steps[-1]}" if steps else f"{said} are not those of the save"
    if value.told and value.told == there.told:
        return f"{said} is {there.told}, of another type or shape"
    instead = f"{there.told} instead of {value.told}" if value.told and there.told else ""
    if sum_of(made) == sum_of(there):
        return f"{said} is {instead + ', ' if instead else ''}as it was before the load"
    if instead:
        return f"{said} is {instead}"
    return f"{said} is that after step {steps[-1]}" if steps else f"{said} differs"


def words_of_rank(name: str, there: Value | None, rank: int, expected: Marks, step: int) -> str:
    """What is said where it is that of another rank; empty elsewhere."""
    for other in sorted(expected):
        if (
            other != rank
            and step < len(expected[other])
            and is_same(expected[other][step].state.get(name), there)
        ):
            return f"{_said(name)} {'are those' if name.startswith(RANDOM) else 'is that'} of rank {other}"
    return ""


def words_of_data(mark: Mark, rank: int, expected: Marks) -> str:
    if not mark.samples:
        return "are none"
    for other in sorted(expected, key=lambda other: other != rank):
        for one in expected[other]:
            if one.samples == mark.samples:
                if other != rank:
                    return f"are those that rank {other} had in step {one.step}"
                return (
                    f"are those of step {one.step} again"
                    if one.step < mark.step
                    else f"are those of step {one.step}"
                )
    seen = {sample for one in expected[rank][: mark.step] for sample in one.samples}
    again = [sample for sample in mark.samples if sample in seen]
    if again:
        return f"are others, {len(again)} of them for the second time"
    return "are others"


def _said(name: str) -> str:
    if name.startswith(RANDOM):
        return f"the random numbers of {NAMES_OF_STREAMS[name.removeprefix(RANDOM)]}"
    return name


def gathered(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """The same of several ranks as one, in the order of steps, of each step what is nearest to the cause first."""
    by_kind: dict[tuple[object, ...], list[Difference]] = {}
    for one in found:
        told = one.told if one.kind != "data" else one.name
        if one.kind == "output" or (one.kind == "state" and one.moment == "step"):
            told = one.name  # each rank has its own numbers: the first is told
        by_kind.setdefault((one.moment, one.step, one.kind, one.name, told), []).append(one)
    joined = []
    for several in by_kind.values():
        first, ranks = several[0], tuple(rank for one in several for rank in one.ranks)
        told = first.told if first.kind != "data" else _joined_data(several)
        joined.append(
            Difference(
                moment=first.moment, step=first.step, kind=first.kind, name=first.name, told=told, ranks=ranks
            )
        )
    order = {"data": 0, "output": 1, "state": 2}
    return tuple(sorted(joined, key=lambda one: (one.moment != "load", one.step, order[one.kind])))


def _joined_data(several: Sequence[Difference]) -> str:
    told: dict[str, list[int]] = {}
    for one in several:
        [rank] = one.ranks
        told.setdefault(one.told.removeprefix(f"the data of rank {rank} "), []).append(rank)
    return "; ".join(
        f"the data of {name_ranks(ranks)} {words}" for words, ranks in list(told.items())[:NAMED_MAX]
    )
