"""`smallest` by itself: what it comes to for predicates of which the smallest history is known."""

from __future__ import annotations

import itertools

import pytest

from faultkit.history.shrink import smallest
from faultkit.history.steps import read_history

SAVE_SITES = (
    ("storage.prepare_local_plan", "before"),
    ("storage.write_data", "before"),
    ("storage.finish", "before"),
)
POINTS = {"save": SAVE_SITES, "overwrite": SAVE_SITES, "restart": (("storage.read_data", "before"),)}
LONG = [
    ("start", 3),
    ("save",),
    ("restart", 2),
    ("save", "storage.finish@0=kill(SIGKILL)"),
    ("restart", 3, "storage.read_data@1-2=raise(OSError)"),
    ("restart", 3),
    ("overwrite", "storage.write_data@1-2=raise(OSError); storage.finish@0=raise(OSError)"),
    ("prune", 2),
    ("save",),
    ("overwrite",),
    ("restart", 2),
]


def made_small(fails):
    def asked(history):
        asked.count += 1
        return fails(history)

    asked.count = 0
    best = smallest(read_history(LONG), asked, points=POINTS)
    assert fails(best)
    return [step.value() for step in best], asked.count


def words(history):
    return [step.word for step in history]


def saves_a_step_and_then_it_again(history):
    return any(one.word == "save" and two.word == "overwrite" for one, two in itertools.pairwise(history))


def fails_to_write_on_rank_1(history):
    sizes, size = [], 1
    for step in history:
        size = step.number if step.word in ("start", "restart") else size
        sizes.append(size)
    return any(
        fault.name == "write_data" and size > 1 and fault.matches_rank(1, size)
        for step, size in zip(history, sizes, strict=True)
        for fault in step.plan
    )


RAISES = "raise(ValueError)"
SMALLEST = [
    (lambda history: True, [("start", 1)]),
    (lambda history: "prune" in words(history), [("start", 1), ("prune", 1)]),
    (lambda history: words(history).count("restart") >= 2, [("start", 1), ("restart", 1), ("restart", 1)]),
    (saves_a_step_and_then_it_again, [("start", 1), ("save",), ("overwrite",)]),
    (fails_to_write_on_rank_1, [("start", 2), ("save", f"storage.write_data@1={RAISES}")]),
    (
        lambda history: any(step.plan for step in history if step.word == "overwrite"),
        [("start", 1), ("overwrite", f"storage.prepare_local_plan@0={RAISES}")],
    ),
    (
        lambda history: any(step.plan for step in history if step.word == "restart"),
        [("start", 1), ("restart", 1, f"storage.read_data@0={RAISES}")],
    ),
    (
        lambda history: any(f.action.name == "kill" for step in history for f in step.plan),
        [("start", 1), ("save", "storage.prepare_local_plan@0=kill(SIGKILL)")],
    ),
    (
        lambda history: any(step.number == 3 for step in history if step.word == "restart"),
        [("start", 1), ("restart", 3)],
    ),
]


@pytest.mark.parametrize(
    ("fails", "expected"), SMALLEST, ids=[str(expected)[:60] for _, expected in SMALLEST]
)
def test_the_smallest_history_is_come_to_in_few_runs(fails, expected):
    best, runs = made_small(fails)
    assert best == expected
    assert runs <= 150


def test_no_history_is_asked_for_twice_and_none_that_cannot_be():
    asked = []

    def fails(history):
        asked.append(history)
        read_history(history)  # begins with its only start
        return len(history) > 4

    smallest(read_history(LONG), fails, points=POINTS)
    assert len(asked) == len(set(asked))


def test_no_world_gets_smaller_than_it_may():
    best = smallest(read_history(LONG), lambda history: "prune" in words(history), fewest_ranks=2)
    assert [step.value() for step in best] == [("start", 2), ("prune", 1)]


def test_the_number_of_runs_is_bounded():
    asked = []

    def fails(history):
        asked.append(history)
        return len(history) > 3

    smallest(read_history(LONG), fails, points=POINTS, runs_max=5)
    assert len(asked) <= 6
