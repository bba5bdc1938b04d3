"""Growth is judged by what ranks have counted: a slope beyond its error and its floor is a leak."""

from __future__ import annotations

import pytest

from faultkit.checks import Verdict, examine
from faultkit.checks.growth import EVENT, MEASURES, slopes_in
from tests.helpers.finished_runs import successful


def run_of(counts_by_rank, names=None):
    """A run in which ranks have counted."""
    built = successful(size=len(counts_by_rank))
    for rank, samples in counts_by_rank.items():
        built.event(rank, EVENT, turn="save", warm_up=10, samples=samples, names=names or {})
    return built.run()


def counted(rate, start=14, turns=60):
    return [int(start + rate * turn) for turn in range(turns)]


def test_one_descriptor_per_save_on_one_rank_is_a_leak_and_its_twin_is_none():
    flat = {"descriptors": counted(0), "threads": counted(0)}
    names = {"descriptors": ["/data/log (49 times)"]}
    [violation] = examine(run_of({0: flat, 1: {**flat, "descriptors": counted(1)}}, names), "growth")
    assert (violation.verdict, violation.ranks) == (Verdict.LEAKED, (1,))
    assert violation.evidence == (
        "1.00 +- 0.00 descriptors per save on rank 1 (60 saves): /data/log (49 times)"
    )
    assert examine(run_of({0: flat, 1: flat}, names), "growth") == ()


def test_one_leak_of_memory_is_told_once():
    grown = {"memory": counted(4096), "resident": counted(8192)}
    [violation] = examine(run_of({0: grown}), "growth")
    assert violation.evidence.startswith("4.00 +- 0.00 KiB of memory per save on rank 0")


@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_below_its_floor_is_no_leak(measure):
    floor = MEASURES[measure].floor
    below, above = ({measure: counted(rate, turns=600)} for rate in (0.8 * floor, 1.5 * floor))
    assert examine(run_of({0: below}), "growth") == ()
    assert len(examine(run_of({0: above}), "growth")) == 1


def test_a_run_in_which_nothing_was_counted_breaks_nothing():
    assert slopes_in(run_of({0: {}})) == ()
    assert examine(run_of({0: {}}), "growth") == ()
