"""Which results stand in the matrix, and which say the same."""

from __future__ import annotations

import pytest

from faultkit import FaultPlan
from faultkit.report.matrix import groups_of, matrix_of
from tests.helpers.sweep_journals import HUNG, MASKED, journal, result, small_journal


def test_rows_are_places_and_cells_are_ranks():
    small = small_journal()
    matrix = matrix_of(small)
    assert [(row.place, sorted(row.cells)) for row in matrix.rows] == [
        ("writer.reset", [0, 1]),
        ("writer.finish:after", [0]),
    ]
    assert matrix.rows[0].cells[1] is small.results[1]
    assert (matrix.ranks, matrix.actions, matrix.others) == ((0, 1), ("raise(ValueError)",), ())


def test_each_action_has_a_row_of_its_own():
    matrix = matrix_of(journal(result("writer.reset@0=hang"), result("writer.reset@0=stop")))
    assert [(row.place, row.action) for row in matrix.rows] == [
        ("writer.reset", "hang"),
        ("writer.reset", "stop"),
    ]
    assert matrix.actions == ("hang", "stop")


@pytest.mark.parametrize(
    "plan",
    [
        "",
        "writer.reset=hang",
        "writer.reset@others=hang",
        "writer.reset@0-1=hang",
        "writer.reset@0#2=hang",
        "writer.reset@0=hang; writer.finish@0=hang",
    ],
)
def test_what_is_not_one_fault_on_one_rank_stands_by_itself(plan):
    one = result(plan)
    assert matrix_of(journal(one)).others == (one,)


def test_a_plan_that_ran_twice_hides_nothing():
    first, second = result("writer.reset@0=hang"), result("writer.reset@0=hang", HUNG)
    matrix = matrix_of(journal(first, second))
    assert matrix.rows[0].cells[0] is first
    assert matrix.others == (second,)


def test_results_of_one_place_that_broke_the_same_promises_are_one_group():
    (group,) = groups_of(small_journal())
    assert (group.verdict, group.title, group.action) == (
        HUNG,
        "writer.reset on ranks 0, 1",
        "raise(ValueError)",
    )
    assert len(group.results) == 2
    assert [violation.evidence for violation in group.violations] == ["rank 0 waits"]


def test_groups_differ_by_verdict_and_place_and_the_worst_stands_first():
    found = groups_of(
        journal(
            result("writer.reset@0=hang", MASKED, check="cause"),
            result("writer.reset@1=hang", HUNG),
            result("writer.finish@0=hang", HUNG),
            result("writer.reset=hang", HUNG),
            result("", HUNG),
        )
    )
    assert [(group.verdict, group.title) for group in found] == [
        (HUNG, "writer.reset on rank 1"),
        (HUNG, "writer.finish on rank 0"),
        (HUNG, "writer.reset=hang"),
        (HUNG, "(no fault)"),
        (MASKED, "writer.reset on rank 0"),
    ]


def test_what_an_interrupted_sweep_did_not_run_is_no_place_that_a_rank_does_not_come_by():
    pending = [
        FaultPlan.parse(text)
        for text in ("writer.finish:after@1=raise(ValueError)", "writer.storage_meta@0=raise(ValueError)")
    ]
    matrix = matrix_of(small_journal(pending=tuple(pending), planned_count=5))
    assert [(row.place, sorted(row.cells), sorted(row.pending)) for row in matrix.rows] == [
        ("writer.reset", [0, 1], []),
        ("writer.finish:after", [0], [1]),
        ("writer.storage_meta", [], [0]),
    ]
    assert matrix.is_pending and not matrix_of(small_journal()).is_pending
