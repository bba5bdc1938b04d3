"""The line through logarithms finds the power that made the values, and says how sure it is."""

from __future__ import annotations

import math

import pytest

from faultkit.scale import line_through

RANKS = [2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_an_exact_power_is_found_and_leaves_no_doubt(exponent):
    line = line_through(RANKS, [3.0 * ranks**exponent for ranks in RANKS])
    assert line.exponent == pytest.approx(exponent, abs=1e-9)
    assert line.low == pytest.approx(line.high, abs=1e-6)
    assert line.at(1000) == pytest.approx((3.0 * 1000**exponent,) * 3, rel=1e-6)


def test_what_scatters_has_an_interval_that_grows_with_the_distance():
    values = [ranks * factor for ranks, factor in zip(RANKS, (1.1, 0.9, 1.1, 0.9, 1.1, 0.9), strict=True)]
    line = line_through(RANKS, values)
    assert line.low < 1.0 < line.high
    near, far = line.at(64), line.at(100_000)
    assert near[1] < near[0] < near[2]
    assert far[2] / far[1] > near[2] / near[1]


def test_the_interval_is_that_of_linear_regression():
    # logarithms 0, 1, 2 and 0, 1, 3: slope 1.5, standard error sqrt(1/12), Student's 12.706 for one degree
    line = line_through([math.exp(x) for x in (0, 1, 2)], [math.exp(y) for y in (0, 1, 3)])
    assert line.exponent == pytest.approx(1.5)
    assert line.high - line.exponent == pytest.approx(12.706 * math.sqrt(1 / 12), rel=1e-6)


def test_values_that_are_not_above_zero_are_left_out():
    assert line_through([2, 4, 8], [0.0, 4.0, 8.0]).exponent == pytest.approx(1.0)
    assert line_through([2, 4], [0.0, 4.0]) is None
    assert line_through([], []) is None
    assert line_through([4, 4], [1.0, 2.0]) is None


def test_two_points_give_a_line_without_an_interval():
    line = line_through([2, 4], [2.0, 8.0])
    assert (line.low, line.high) == (line.exponent, line.exponent) == pytest.approx((2.0, 2.0))
    assert line.at(8) == pytest.approx((32.0, 32.0, 32.0))
