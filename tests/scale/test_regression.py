"""The line through logarithms and the law of terms find what made the values, and say how sure they are."""

from __future__ import annotations

import math

import pytest

from faultkit.scale import fit_cost_model, fit_power_law
from faultkit.scale.cost_models import TERMS

RANKS = [2, 4, 8, 16, 32, 64]
SCATTER = (1.1, 0.9, 1.1, 0.9, 1.1, 0.9)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_an_exact_power_is_found_and_leaves_no_doubt(exponent):
    line = fit_power_law(RANKS, [3.0 * ranks**exponent for ranks in RANKS])
    assert line.exponent == pytest.approx(exponent, abs=1e-9)
    assert line.low == pytest.approx(line.high, abs=1e-6)


def test_what_scatters_has_an_interval():
    values = [ranks * factor for ranks, factor in zip(RANKS, SCATTER, strict=True)]
    line = fit_power_law(RANKS, values)
    assert line.low < 1.0 < line.high


def test_the_interval_is_that_of_linear_regression():
    # logarithms 0, 1, 2 and 0, 1, 3: slope 1.5, standard error sqrt(1/12), Student's 12.706 for one degree
    line = fit_power_law([math.exp(x) for x in (0, 1, 2)], [math.exp(y) for y in (0, 1, 3)])
    assert line.exponent == pytest.approx(1.5)
    assert line.high - line.exponent == pytest.approx(12.706 * math.sqrt(1 / 12), rel=1e-6)


def test_values_that_are_not_above_zero_are_left_out():
    assert fit_power_law([2, 4, 8], [0.0, 4.0, 8.0]).exponent == pytest.approx(1.0)
    assert fit_power_law([2, 4], [0.0, 4.0]) is None
    assert fit_power_law([], []) is None
    assert fit_power_law([4, 4], [1.0, 2.0]) is None


def test_two_points_give_a_line_without_an_interval():
    line = fit_power_law([2, 4], [2.0, 8.0])
    assert (line.low, line.high) == (line.exponent, line.exponent) == pytest.approx((2.0, 2.0))


# -- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "terms",
    [
        {"n^2": 2, "n": -1, "1": -1},
        {"n": 3, "1": -3},
        {"log n": 1359},
        {"1": 7},
        {"n": 880, "log n": 8, "1": -880},
    ],
    ids=str,
)
def test_the_law_of_counts_is_found_exactly_and_predicts_exactly(terms):
    def value(n):
        return sum(coefficient * TERMS[name](n) for name, coefficient in terms.items())

    law = fit_cost_model(RANKS, [value(n) for n in RANKS], signed=True)
    assert {name: pytest.approx(coefficient, rel=1e-6) for name, coefficient in law.terms} == terms
    assert law.at(100_000) == pytest.approx((value(100_000),) * 3, rel=1e-3)


def seconds(n):
    return (3.6e-3 + 93e-6 * n + 57e-9 * n * n) * SCATTER[int(math.log2(n)) % len(SCATTER)]


def test_a_square_that_decides_on_large_worlds_is_found_once_it_shows():
    sizes = [2**power for power in range(1, 12)]
    law = fit_cost_model(sizes, [seconds(n) for n in sizes], signed=False)
    assert [name for name, _ in law.terms] == ["1", "n", "n^2"]
    value, low, high = law.at(100_000)
    assert low < 57e-9 * 1e10 < high and value == pytest.approx(570, rel=0.3)


def test_where_it_does_not_show_yet_the_interval_allows_for_it():
    law = fit_cost_model(RANKS, [seconds(n) for n in RANKS], signed=False)
    assert "n^2" not in dict(law.terms)
    value, low, high = law.at(100_000)
    assert value < 100 and low < 570 < high


def test_no_cost_has_a_term_below_zero_and_none_falls_with_the_ranks():
    law = fit_cost_model(RANKS, [5.0, 4.0, 3.5, 3.2, 3.1, 3.0], signed=False)
    assert all(coefficient > 0 for _, coefficient in law.terms)
    assert law.at(100_000)[1] >= 3.0


def test_two_sizes_have_no_law():
    assert fit_cost_model([2, 4], [1.0, 2.0], signed=True) is None
    assert fit_cost_model([2, 4, 8], [0.0, 1.0, 2.0], signed=True) is None
