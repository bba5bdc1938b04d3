"""A slope is beyond its error where something grows with every save, and nowhere else."""

from __future__ import annotations

import random

import pytest

from faultkit.checks.slopes import SAMPLES_MIN, slope_of

TURNS = 160


def steps_at(*places, height=1_000_000):
    return [height * sum(turn >= place for place in places) for turn in range(TURNS)]


def walk(seed):
    source, place = random.Random(seed), 0.0
    found = []
    for _ in range(TURNS):
        place += source.gauss(0, 1)
        found.append(place)
    return found


@pytest.mark.parametrize("rate", [1, 0.5, 0.2, 3.25, 4096])
def test_what_grows_has_its_rate(rate):
    noise = random.Random(int(rate * 100))
    slope = slope_of([int(rate * turn) + noise.choice((0, 0, 1)) for turn in range(TURNS)])
    assert slope.is_beyond(rate / 2) and slope.low <= rate <= slope.high
    assert slope.estimate == pytest.approx(rate, abs=0.02)


def test_4_kib_are_seen_in_the_noise_of_an_allocator():
    noise = random.Random(1)
    slope = slope_of([4096 * turn + noise.gauss(0, 200_000) for turn in range(TURNS)])
    assert slope.is_beyond(1024) and 0 < slope.error < slope.estimate


@pytest.mark.parametrize(
    "counts",
    [
        [14] * TURNS,
        steps_at(80),
        steps_at(10, 20, 40),
        steps_at(40, 80, 120),
        [turn % 7 for turn in range(TURNS)],
        [TURNS - turn for turn in range(TURNS)],
    ],
    ids=["constant", "one step", "doubling", "three steps", "saw teeth", "shrinking"],
)
def test_what_does_not_grow_with_each_turn_is_within_its_error(counts):
    assert not slope_of(counts).is_beyond(0)


def test_noise_is_within_its_error():
    for seed in range(300):
        source = random.Random(seed)
        assert not slope_of([source.gauss(0, 1) for _ in range(TURNS)]).is_beyond(0)
    assert sum(slope_of(walk(seed)).is_beyond(2.0) for seed in range(300)) == 0


def test_the_warm_up_is_left_out():
    counts = [*range(40), *[40] * 40]
    assert slope_of(counts, warm_up=40).estimate == 0
    assert slope_of(counts).estimate > 0


def test_few_samples_tell_nothing():
    assert slope_of(range(SAMPLES_MIN - 1)) is None
    assert slope_of(range(SAMPLES_MIN)).estimate == 1


@pytest.mark.parametrize(("rate", "is_told"), [(3.2, False), (4.5, True)])
def test_what_is_above_the_floor_by_less_than_its_error_is_none(rate, is_told):
    source = random.Random(3)
    slope = slope_of([rate * turn + source.gauss(0, 8) for turn in range(40)], warm_up=10)
    assert slope.estimate > 3.0 and slope.error > 0.3
    assert slope.is_beyond(3.0) == is_told
