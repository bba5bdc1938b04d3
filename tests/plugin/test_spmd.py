"""The body of an ``spmd`` test runs on every rank, and pytest tells what became of it there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from faultkit.worlds import ErrorRecord, Raised
from pytest_faultkit import spmd
from tests.helpers.own_files import files_told
from tests.helpers.pytest_runs import SUITES

pytestmark = pytest.mark.slow


@pytest.fixture
def case(all_kinds):
    return all_kinds.cases.__getitem__


def test_asserts_are_taken_apart_as_in_any_test(case):
    failed = case("test_assert_with_variables")
    assert failed.outcome == "failed"
    assert "ranks 0, 1 of 2 failed: assert 2 == 3\n" in failed.text
    assert ">   assert left == right\n" in failed.text and "\nE   assert 2 == 3\n" in failed.text
    line = (SUITES / "bodies.py").read_text().splitlines().index("    assert left == right") + 1
    assert f"test_bodies.py:{line}: AssertionError" in failed.text
    where = case("test_assert_with_a_call").text
    assert "E   assert 2 == 3\nE    +  where 2 = two()\n" in where


def test_a_failed_assert_of_its_own_message_shows_both(case):
    text = case("test_assert_with_a_message").text
    assert "E   AssertionError: two is not three\nE   assert 2 == 3" in text


def test_what_differs_in_two_lists_is_told_as_pytest_tells_it_and_no_longer(case):
    text = case("test_lists_differ").text
    assert "E   assert [1, 2, 3] == [1, 5, 3]\n" in text and "E     At index 1 diff: 2 != 5\n" in text
    text = case("test_long_lists_differ").text
    assert "E     At index 0 diff: 0 != '0'\n" in text and text.count("\nE ") <= 12


def test_a_body_that_returns_something_is_warned_of_as_pytest_does(case):
    text = case("test_returns_something").text
    assert "PytestReturnNotNoneWarning: Test functions should return None, but " in text
    assert "test_returns_something returned <class 'bool'>" in text


@pytest.mark.parametrize(
    ("name", "told"),
    [("test_assert_in_a_helper", "assert 30 == 20"), ("test_assert_in_the_conftest", "assert 20 == 30")],
)
def test_asserts_in_helpers_are_taken_apart_too(case, name, told):
    text = case(name).text
    assert f"\nE   {told}\n" in text
    assert files_told(text) == [] and "functools" not in text  # it begins at the test


def test_ranks_that_failed_alike_are_told_together(case):
    text = case("test_assert_with_a_call").text
    assert text.count("E   assert 2 == 3") == 1


def test_what_ranks_failed_alike_of_is_taken_apart_once(monkeypatch):
    """Taking it apart parses the files of the traceback, which costs more than the run of the ranks."""
    taken = []

    def told(item, outcome):
        taken.append(outcome.message)
        return outcome.message, outcome.traceback_text

    def raised(message, line):
        return Raised(ErrorRecord(type_name="KeyError", message=message, frames=(("test.py", line, "f"),)))

    monkeypatch.setattr(spmd, "_told", told)
    outcomes = [
        raised("<object at 0x1f>", 1),
        raised("<object at 0x2e>", 1),
        raised("<object at 0x1f>", 2),
        raised("another", 1),
    ]
    run = SimpleNamespace(outcomes=dict(enumerate(outcomes)), world_size=4, plan=None, output={})
    text = spmd._text(None, run, [0, 1, 2, 3])
    assert taken == ["<object at 0x1f>", "<object at 0x1f>", "another"]
    for line in (
        "ranks 0, 1 of 4 failed: <object at 0x1f>\n",
        "rank 2 of 4 failed: <object at 0x1f>\n",
        "rank 3 of 4 failed: another\n",
    ):
        assert line in text


def test_the_first_rank_to_fail_is_told_first_and_the_one_that_waits_for_it_after_that(case):
    text = case("test_rank_1_fails_and_then_rank_0").text
    assert "rank 1 of 2 failed: KeyError: 'rank 1 gave up'\n" in text
    assert text.index("E   KeyError: 'rank 1 gave up'") < text.index("HUNG: a rank waited for ever")
    assert "waiting in barrier, for rank 1" in text


def test_only_the_ranks_that_failed_are_named_and_all_output_is_shown(case):
    text = case("test_rank_1_alone_fails").text
    assert "rank 1 of 2 failed: assert 1 == 0\n" in text and "rank 0 of 2 failed" not in text
    for rank in (0, 1):
        assert f"rank {rank} printed\nhello from rank {rank}\nwritten to descriptor 2" in text


def test_what_ranks_print_in_a_test_that_passes_is_captured_as_any_output(all_kinds):
    output = all_kinds.cases["test_ranks_print_and_pass"].output
    assert "rank 0 printed\nall is well on rank 0\nrank 1 printed\nall is well on rank 1\n" in output
    assert "all is well" not in all_kinds.output


def test_fixtures_arrive_with_their_values(case):
    assert case("test_fixtures_arrive").outcome == "passed"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "test_a_lock_does_not_travel",
            "fixture 'lock' cannot travel to the ranks of an spmd test, because its",
        ),
        (
            "test_recwarn_does_not_travel",
            "fixture 'recwarn' cannot travel to the ranks of an spmd test, because",
        ),
    ],
)
def test_a_fixture_that_cannot_travel_is_named(case, name, why):
    failed = case(name)
    assert failed.outcome == "failed" and why in failed.text
    assert "Traceback" not in failed.text and not failed.properties


def test_monkeypatch_patches_the_rank_and_is_undone_there(case):
    assert case("test_monkeypatch_is_the_ranks_own").outcome == "passed"
    assert case("test_monkeypatch_was_undone").outcome == "passed"


def test_parameters_and_sizes_make_tests_of_their_own(all_kinds):
    names = ["test_parameters[1]", "test_parameters[2]", "test_sizes[world1]", "test_sizes[world3]"]
    assert [all_kinds.cases[name].outcome for name in names] == ["passed"] * 4


def test_the_closest_marker_counts(case):
    assert case("test_the_class_counts_before_the_module").outcome == "passed"
    assert case("test_the_function_counts_before_the_class").outcome == "passed"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test_skip", "not on a Monday"),
        ("test_skip_on_one_rank", "not on rank 1"),
        ("test_xfail", "known"),
        ("test_importorskip", "could not import 'a_module_that_nobody_has'"),
    ],
)
def test_skips_and_xfails_of_the_body_count(case, name, reason):
    skipped = case(name)
    assert skipped.outcome == "skipped" and reason in skipped.text
    assert not skipped.properties  # no plan was tried


def test_a_skip_is_told_with_the_place_of_the_test(all_kinds):
    assert "SKIPPED [1] test_bodies.py:" in all_kinds.output


def test_a_failure_counts_more_than_a_skip_on_another_rank(case):
    failed = case("test_skip_where_another_rank_fails")
    assert failed.outcome == "failed" and "rank 0 of 2 failed: assert 2 == 3" in failed.text


@pytest.mark.parametrize("plan", ["no fault", "writer.reset=delay(0)"])
def test_so_does_a_death(case, plan):
    failed = case(f"test_skip_where_another_rank_dies[{plan}]")
    assert failed.outcome == "failed" and "rank 0: exited with code 3" in failed.text


def test_pytest_fail_is_told_without_the_inside_of_pytest(case):
    failed = case("test_fail")
    assert "E   Failed: on purpose" in failed.text and files_told(failed.text) == []
    assert "ranks 0, 1 of 2 failed: on purpose" in case("test_fail_without_a_traceback").text
    assert '>   pytest.fail("on purpose"' not in case("test_fail_without_a_traceback").text


def test_the_marker_xfail_knows_the_type_that_the_ranks_raised(case):
    assert case("test_xfail_with_the_type_that_is_raised").outcome == "skipped"
    failed = case("test_xfail_with_another_type")
    assert failed.outcome == "failed" and "KeyError: 'unexpected'" in failed.text


def test_an_error_that_cannot_travel_is_told_as_text(case):
    text = case("test_error_that_cannot_travel").text
    assert "Local: far away" in text and 'raise Local("far away")' in text


def test_a_rank_that_dies_is_told_before_those_that_fail_of_it(case):
    text = case("test_rank_1_dies").text
    assert text.index("rank 1: exited with code 3") < text.index("rank 0 of 2 failed: RuntimeError")
    assert files_told(text) == []  # what the engine calls beneath is shown, our own frames are not
    assert "replay: pytest test_bodies.py::test_rank_1_dies\n" in text


def test_a_rank_that_does_not_come_ends_at_the_markers_timeout_with_stacks(case):
    text = case("test_rank_1_does_not_come").text
    assert "HUNG: a rank waited for ever" in text
    assert "rank 0: hung, waiting in barrier, for rank 1, which has not come to it" in text
    assert "test_rank_1_does_not_come (" in text.partition("Where ranks hung")[2]


def test_damaged_worlds_do_not_reach_the_next_test(case):
    assert case("test_after_death_and_hang_the_ranks_are_whole").outcome == "passed"


def test_a_body_under_a_plan_fails_by_its_own_asserts_and_with_the_story(case):
    text = case("test_body_is_wrong[writer.write_data@1=raise(OSError, ENOSPC)]").text
    assert "ranks 0, 1 of 2 failed" in text
    assert text.index('>   assert list(checkpoint_dir.iterdir()) == ["nothing"]') < text.index("UNUSABLE: ")


def test_a_body_that_returns_where_a_promise_broke_fails_with_the_story(case):
    plan = "writer.write_data@1=raise(OSError, ENOSPC)"
    failed = case(f"test_writer_swallows[{plan}]")
    assert failed.outcome == "failed"
    for line in (
        "PARTIAL: no rank learned of the failure",
        "  rank 1: raise(OSError, ENOSPC) before call 1 of writer.write_data, in step 'write' of save 1",
        "    | about to save",
        f"replay: pytest test_plans.py::test_writer_swallows --faultkit-replay '{plan}'",
    ):
        assert line in failed.text


def test_a_skip_under_a_plan_is_no_run(case):
    skipped = case("test_skip_under_a_plan[writer.write_data@1=raise(OSError, ENOSPC)]")
    assert skipped.outcome == "skipped" and not skipped.properties
