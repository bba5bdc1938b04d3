"""Test methods of ``unittest.TestCase``: on ranks with ``spmd``, and with the fixture ``world``."""

from __future__ import annotations

import pytest

from tests.helpers.own_files import files_told

pytestmark = pytest.mark.slow

KEPT = "Every promise was kept, but the exception left the body"

EXPECTED = {
    "test_it_runs_with_what_unittest_sets_up_on_the_rank": ("passed",),
    "test_it_is_torn_down_with_an_error": (
        "failed",
        "ranks 0, 1 of 2 failed: KeyError: 'while it is torn down'",
    ),
    "test_an_assertion_fails": ("failed", "rank 1 of 2 failed: AssertionError: 1 != 5", "test_cases.py:"),
    "test_an_assert_is_taken_apart": ("failed", "E     At index 1 diff: 2 != 3"),
    "test_a_subtest_fails": ("failed", "AssertionError: 1 == 1", "in subtest (number=1)"),
    "test_a_skip": ("skipped", "not today"),
    "test_a_skip_by_decorator": ("skipped", "never"),
    "test_a_failure_that_is_expected": ("skipped", "expected failure"),
    "test_a_success_that_is_not_expected": ("failed", "unexpected success"),
    "test_an_attribute_with_a_lock": (
        "failed",
        "attribute 'lock' cannot travel to the ranks of an spmd test",
    ),
    "test_the_error_leaves_the_method": ("failed", KEPT),
    "test_the_error_is_meant": ("passed",),
    "test_the_error_is_expected": ("passed",),
    "test_the_error_is_swallowed_by_an_assertion": ("failed", "AssertionError: ZeroDivisionError not raised"),
    "test_it_never_comes_by_the_point": ("failed", "INERT: a planned fault never fired"),
    "test_two_plans": (
        "error",
        "test_two_plans: the marker faults of a unittest.TestCase, which pytest gives no parameters, takes one",
    ),
    "test_two_sizes": (
        "error",
        "test_two_sizes: the marker world of a unittest.TestCase, which pytest gives no",
    ),
    "test_nobody_awaits_it": ("error", "the marker spmd needs a plain function (got an async one)"),
    "test_it_never_runs": ("failed", "was run and reported neither success nor failure"),
    "test_it_is_awaited": ("passed",),
    "test_it_is_awaited_and_fails": ("failed", "AssertionError: 1 != 2"),
    "test_it_looks_at_the_run": ("passed",),
    "test_it_looks_away": ("failed", "nobody looked at a run that went wrong: "),
    "test_it_fails_itself": (
        "failed",
        "HELD: writer.write_data@1=raise(OSError, ENOSPC)",
        "What each rank saw",
    ),
    "test_it_runs_nothing": ("failed", "the test proves nothing: no run was under the plan"),
    "test_a_wrong_marker": ("error", "did you mean 'writer.finish'?"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_test_case_ends_as_any_test_does(all_kinds, name):
    outcome, *told = EXPECTED[name]
    case = all_kinds.cases[name]
    assert case.outcome == outcome, case.text
    for words in told:
        assert words in case.text
    for inside in ("unittest/case.py", "NotImplementedError"):
        assert inside not in case.text
    assert files_told(case.text) == []
