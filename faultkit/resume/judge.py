"""Compares a job that was started again with the one that was never stopped: `differences`, from marks alone.

On as many ranks all is compared rank by rank and bit by bit.  On another number of ranks:

    after the load    what all ranks hold together of models, optimizers, schedulers and scalers, bit by bit
    data              wherever both have been trained on the same number of samples since the load, these are the same
    loss              its mean over the ranks, within the tolerance, where the steps were trained on the same samples
    after a step      what all ranks hold together, within the tolerance, where the losses could be compared

A random state counts if the job that was never stopped draws from it after that step.  What a job may restore when it
first needs it counts from the first step on; it is told as of the load where it was not right then, either.  What
differs between two jobs that nobody stopped counts nowhere.

Guarantees: judges values only.  Not covered: on another number of ranks the random states, counters, and losses and
values that follow from what was drawn: a note says so.  Imports numpy for numbers within a tolerance, and no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from faultkit.resume.marks import LOSS, RANDOM, Mark, Restarted, Value, held_in
from faultkit.resume.wording import gathered, is_same, words_of, words_of_data, words_of_rank
from faultkit.runs.resumption import Difference

__all__ = ["Compared", "compared", "unrepeatable"]

LOST_GRADIENTS = "the gradients that the job had after step {} are not there after the load"
Told = Mapping[int, Sequence[Mapping[str, object]]]  # by rank, as it outlived the rank
Marks = Mapping[int, Sequence[Mark]]  # by rank; each begins with the mark of step 0


class Compared(NamedTuple):
    """What differs, and what could not be compared."""

    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()


def unrepeatable(marks: Marks, trained: Told, kept: Told) -> tuple[str, frozenset[str]]:
    """Whether the job that was killed was, until then, as the one that was never stopped.

    `trained` has of each step what it was trained on and gave, `kept` what the job had after each save.  Returns what
    of it was not, in words, and the names of those things that need not be: they are compared nowhere.
    """
    loose: set[str] = set()
    for rank, found in sorted(trained.items()):
        for one in found:
            step = one["step"]
            if not isinstance(step, int) or step >= len(marks[rank]):
                continue
            mark = marks[rank][step]
            where = f"step {step} on rank {rank}"
            if list(mark.samples) != one["samples"]:
                return f"{where} is trained on other samples", frozenset()
            outputs: dict[str, list[str]] = one["outputs"]  # type: ignore[assignment]
            for name, value in mark.outputs.items():
                digest, text = outputs.get(name, ["", "nothing"])
                if digest != value.digest:
                    said = f" ({value.told} and {text})" if value.told and text else ""
                    return f"{where} gives another {name}{said}", frozenset()
    for rank, found in sorted(kept.items()):
        for one in found:
            step = one["step"]
            if not isinstance(step, int) or step >= len(marks[rank]):
                continue
            mark = marks[rank][step]
            if one["held"] != held_in(mark):
                return f"model or optimizer are others after step {step} on rank {rank}", frozenset()
            digests: dict[str, str] = one["loose"]  # type: ignore[assignment]
            loose |= {
                name
                for name, value in mark.state.items()
                if not value.is_held and digests.get(name) != value.digest
            }
    return "", frozenset(loose)


def compared(
    expected: Marks, got: dict[int, Restarted], *, ignored: frozenset[str], tolerance: float
) -> Compared:
    """What of the job that was started again is not as `expected`; its ranks have come back to one step."""
    if not got or any(one.loaded is None for one in got.values()):
        return Compared(())
    if len(expected) == len(got):
        found = [one for rank in sorted(got) for one in _of_rank(rank, expected, got[rank], ignored)]
        return Compared(gathered(found))
    return _of_others(expected, got, tolerance)


# -- as many ranks -----------------------------------------------------------------------------------------


def _of_rank(rank: int, expected: Marks, got: Restarted, ignored: frozenset[str]) -> Iterator[Difference]:
    assert got.loaded is not None and got.step is not None
    marks, step = expected[rank], got.step
    before = marks[step]
    drawn = {f"{RANDOM}{name}" for mark in marks[step + 1 :] for name in mark.drawn}
    wrong: set[str] = set()
    for is_late in (False, True):
        for name, value in before.state.items():
            if name in ignored or value.is_held == is_late or (name.startswith(RANDOM) and name not in drawn):
                continue
            there = got.loaded.state.get(name)
            if is_same(value, there) or (is_late and not _stays_wrong(name, marks, got)):
                continue
            wrong.add(name)
            earlier = [mark.state.get(name) for mark in marks[:step]]
            told = words_of_rank(name, there, rank, expected, step) or words_of(
                name, value, there, earlier, got.made.state.get(name)
            )
            if name in before.changed_by_save:
                told += ", which the save changed"
            yield Difference(moment="load", step=step, kind="state", name=name, told=told, ranks=(rank,))
    is_lost = bool(before.gradients) and before.gradients != got.loaded.gradients
    for mark in got.marks:
        for one in _of_step(rank, mark, marks[mark.step], expected, ignored | wrong, mark is got.marks[0]):
            if is_lost and not wrong and one.kind != "data":
                one = msgspec.structs.replace(one, told=f"{one.told}; {LOST_GRADIENTS.format(step)}")
            wrong.add(one.name)
            yield one


def _stays_wrong(name: str, marks: Sequence[Mark], got: Restarted) -> bool:
    if not got.marks:
        return False
    first = got.marks[0]
    return not is_same(marks[first.step].state.get(name), first.state.get(name))


def _of_step(
    rank: int,
    mark: Mark,
    right: Mark,
    expected: Marks,
    ignored: frozenset[str] | set[str],
    is_first: bool,
) -> Iterator[Difference]:
    def differing(kind: str, name: str, told: str) -> Difference:
        return Difference(moment="step", step=mark.step, kind=kind, name=name, told=told, ranks=(rank,))

    if mark.samples != right.samples and "the data" not in ignored:
        yield differing("data", "the data", f"the data of rank {rank} {words_of_data(mark, rank, expected)}")
    for name, value in right.outputs.items():
        if not is_same(value, mark.outputs.get(name)):
            yield differing("output", name, words_of(name, value, mark.outputs.get(name)))
    for name, value in right.state.items():
        if name in ignored or name.startswith(RANDOM) or not (value.is_held or is_first):
            continue
        if not is_same(value, mark.state.get(name)):
            yield differing("state", name, words_of(name, value, mark.state.get(name)))


# -- another number of ranks -------------------------------------------------------------------------------


def _of_others(expected: Marks, got: dict[int, Restarted], tolerance: float) -> Compared:
    first = got[min(got)]
    assert first.step is not None and first.loaded is not None
    found = list(_whole_after_load(expected, got, first.step))
    notes: list[str] = []
    trained, comparable = _samples(expected, got, first.step)
    found += trained
    if not trained:
        found += _after_steps(expected, got, comparable, bool(found), tolerance, notes)
    return Compared(tuple(found), tuple(notes))


def _whole_after_load(expected: Marks, got: dict[int, Restarted], step: int) -> Iterator[Difference]:
    wholes = _wholes([expected[rank][step] for rank in sorted(expected)])
    there = _wholes([one.loaded for one in got.values() if one.loaded is not None], every=True)
    made = _wholes([one.made for one in got.values()], every=True)
    for name, value in wholes.items():
        if value.is_held and (name not in there or there[name].whole != value.whole):
            earlier = [
                _wholes([expected[rank][one] for rank in sorted(expected)]).get(name) for one in range(step)
            ]
            told = words_of(name, value, there.get(name), earlier, made.get(name), is_whole=True)
            yield Difference(moment="load", step=step, kind="state", name=name, told=told, ranks=())


def _wholes(marks: Sequence[Mark], every: bool = False) -> dict[str, Value]:
    """What all ranks hold together, by name; without what is not the same on all, unless `every`."""
    wholes: dict[str, Value] = {}
    differing: set[str] = set()
    for mark in marks:
        for name, value in mark.state.items():
            if value.whole and wholes.setdefault(name, value).whole != value.whole:
                differing.add(name)
    return {name: value for name, value in wholes.items() if every or name not in differing}


def _samples(expected: Marks, got: dict[int, Restarted], step: int) -> tuple[list[Difference], list[int]]:
    """What was trained on otherwise, and the steps whose samples are those of the same step."""
    right = [
        _of_all([expected[rank][one] for rank in expected]) for one in range(len(expected[min(expected)]))
    ]
    there = {
        mark.step: _of_all([one.marks[place] for one in got.values()])
        for place, mark in enumerate(got[min(got)].marks)
    }
    known = {sample for one in right for sample in one}
    trained = {sample for one in right[: step + 1] for sample in one}
    if not any(right) or not any(there.values()):
        return [], []
    comparable = [number for number, samples in there.items() if set(samples) == set(right[number])]
    sums: dict[int, set[str]] = {}
    so_far: list[str] = []
    for samples in right[step + 1 :]:
        so_far += samples
        sums[len(so_far)] = set(so_far)
    so_far = []
    for number, samples in there.items():
        so_far += samples
        wanted = sums.get(len(so_far))
        if wanted is None or wanted == set(so_far):
            continue
        again = [one for one in samples if one in trained and one not in wanted]
        left_out = wanted - set(so_far)
        if again or any(one in known and one not in wanted for one in so_far):
            told = (
                f"{len(again)} of the samples were trained on before the job was stopped"
                if again
                else "the samples are others"
            )
            if left_out:
                told += f", and {len(left_out)} are left out"
            return [
                Difference(moment="step", step=number, kind="data", name="the data", told=told, ranks=())
            ], comparable
        return [], comparable  # samples that nobody has seen: what is drawn is in them
    return [], comparable


def _of_all(marks: Iterable[Mark]) -> list[str]:
    """The samples of one step, on all ranks; those that several had, as under tensor parallelism, once."""
    return list(dict.fromkeys(sample for mark in marks for sample in mark.samples))


def _after_steps(
    expected: Marks,
    got: dict[int, Restarted],
    comparable: list[int],
    is_wrong: bool,
    tolerance: float,
    notes: list[str],
) -> Iterator[Difference]:
    for place, first in enumerate(got[min(got)].marks):
        step = first.step
        right = [expected[rank][step] for rank in sorted(expected)]
        there = [one.marks[place] for one in got.values()]
        if step not in comparable:
            notes.append(
                f"from step {step} on losses are not compared: the samples of a step are not known to be the same"
            )
            return
        wanted, is_now = _mean(right), _mean(there)
        is_drawn = any(mark.drawn for mark in (*right, *there))
        if wanted is not None and is_now is not None and not _near(wanted, is_now, tolerance):
            if is_drawn:
                notes.append(
                    f"from step {step} on losses differ ({is_now:.6g} instead of {wanted:.6g}) and are not compared: "
                    "the step draws random numbers, which other ranks draw otherwise"
                )
                return
            told = f"the loss, as a mean over the ranks, is {is_now:.6g} instead of {wanted:.6g}"
            yield Difference(moment="step", step=step, kind="output", name=LOSS, told=told, ranks=())
            return
        if is_wrong:
            continue
        for name, is_far in _far(_wholes(right), _wholes(there, every=True), tolerance):
            if is_drawn:
                notes.append(
                    f"from step {step} on what the job holds differs and is not compared: the step draws random numbers"
                )
                return
            told = f"{name} {is_far}"
            yield Difference(moment="step", step=step, kind="state", name=name, told=told, ranks=())
            is_wrong = True


def _far(right: dict[str, Value], there: dict[str, Value], tolerance: float) -> Iterator[tuple[str, str]]:
    import numpy as np

    for name, value in right.items():
        if not value.is_held or not value.numbers or name not in there:
            continue
        wanted, is_now = np.frombuffer(value.numbers), np.frombuffer(there[name].numbers)
        if wanted.shape != is_now.shape:
            yield name, f"has {is_now.size} elements instead of {wanted.size}"
            continue
        largest, far = float(np.abs(wanted).max(initial=0.0)), float(np.abs(wanted - is_now).max(initial=0.0))
        if not far <= tolerance * largest:
            yield name, f"differs by up to {far:.3g}, of {largest:.3g} at most"


def _mean(marks: Sequence[Mark]) -> float | None:
    import numpy as np

    values = [mark.outputs[LOSS].numbers for mark in marks if LOSS in mark.outputs]
    if len(values) != len(marks) or any(len(one) != 8 for one in values):
        return None
    return float(np.mean([np.frombuffer(one)[0] for one in values]))


def _near(one: float, other: float, tolerance: float) -> bool:
    return (
        one == other
        or abs(one - other) <= tolerance * max(abs(one), abs(other))
        or (one != one and other != other)
    )
