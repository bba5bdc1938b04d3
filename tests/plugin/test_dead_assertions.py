"""A test passes only if its body came to its end, or somebody said that it need not, and nobody looked away."""

from __future__ import annotations

import pytest

from tests.helpers.own_files import files_told

pytestmark = pytest.mark.slow

PLAN = "writer.write_data@1=raise(OSError, ENOSPC)"
KEPT = "Every promise was kept, but the exception left the body, and what stands behind that line never ran."
DID_NOT = (
    "DID NOT RAISE CheckpointException, which the marker faults(..., raises=...) says that every rank raises"
)
LEFT = "failed: CheckpointException in step 'write' naming rank 1 (rank 1: OSError: "
SAID = (
    "mark it with faults(..., raises=CheckpointException)",
    "put pytest.raises(CheckpointException) around the call",
)
LOOKED_AWAY = "nobody looked at a run that went wrong: "

FAILED = {
    f"the_error_leaves_the_body[{PLAN}]": ("ranks 0, 1 of 2 " + LEFT, KEPT, *SAID, "HELD: every promise"),
    f"the_error_leaves_the_body_of_a_parameter[3-{PLAN}]": (LEFT, KEPT),
    f"another_error_is_meant[{PLAN}]": (LEFT, "raises=(OSError, CheckpointException)"),
    f"nobody_raises_what_is_meant[{PLAN}]": ("ranks 0, 1 " + DID_NOT,),
    f"one_rank_does_not_raise_what_is_meant[{PLAN}]": ("rank 0 " + DID_NOT,),
    "a_fault_that_is_no_error_raises_nothing[writer.write_data@1=delay(0.01)]": ("ranks 0, 1 " + DID_NOT,),
    "without_a_fault_an_error_is_a_failure[no fault]": ("ValueError: not by a fault",),
    f"an_assertion_is_never_meant[{PLAN}]": ("assert {1} == {0}", "Extra items in the left set"),
    f"a_missing_error_is_never_meant[{PLAN}]": ("DID NOT RAISE ZeroDivisionError",),
    f"what_is_meant_excuses_no_broken_promise[{PLAN}]": ("PARTIAL: no rank learned of the failure",),
    f"an_assertion_beside_an_open_save[{PLAN}]": ("assert future is None",),
    "the_body_ends_the_rank[0]": ("ranks 0, 1: exited with code 0", "DIED: a rank died"),
    "the_body_ends_the_rank[1]": ("ranks 0, 1: exited with code 1",),
    f"the_body_ends_the_rank_under_a_plan[exit-{PLAN}]": ("ranks 0, 1: exited with code 0",),
    f"the_body_ends_the_rank_under_a_plan[_exit-{PLAN}]": ("ranks 0, 1: exited with code 0",),
    "a_body_that_nobody_awaits": ("never_awaited returned a coroutine, which nobody runs",),
    "a_body_that_nobody_iterates": ("never_iterated returned a generator, which nobody runs",),
    f"nobody_looks_at_the_error[{PLAN}]": (
        f"{LOOKED_AWAY}under '{PLAN}' ranks 0, 1 of 2 raised CheckpointException in step 'write'",
        "in save_and_claim",
        "run.raise_for_violations(), run.verdict, run.outcomes or run.story()",
        "faults(..., raises=...)",
    ),
    "nobody_looks_at_the_end[claim]": (f"{LOOKED_AWAY}ranks 0, 1 of 2 raised AssertionError: ", "in claim"),
    "nobody_looks_at_the_end[leave]": (f"{LOOKED_AWAY}ranks 0, 1 of 2 exited with code 0 in leave",),
    "nobody_looks_at_the_end[later]": ("ranks 0, 1 of 2 returned a coroutine that nobody ran", "in later"),
    "nobody_looks_at_the_end_in_another_kind_of_world[fresh]": (LOOKED_AWAY,),
    "nobody_looks_at_the_end_in_another_kind_of_world[simulated]": (LOOKED_AWAY,),
    "nobody_looks_at_the_end_in_a_world_of_its_own": (f"{LOOKED_AWAY}rank 0 of 1 raised AssertionError: ",),
    "nobody_looks_at_one_of_many_ends": (LOOKED_AWAY,),
    f"what_is_meant_is_asked_of_every_run_under_the_plan[{PLAN}]": ("ranks 0, 1 " + DID_NOT,),
    "nobody_looks_at_the_attempts_after": (
        f"{LOOKED_AWAY}ranks 0, 1 raised AssertionError: the second time in attempt 1 after the plan",
        "run.attempts_after",
    ),
    "nobody_looks_at_the_run_of_a_fixture": (LOOKED_AWAY,),
    "nobody_looks_at_the_run_of_a_fixture_of_a_body": (LOOKED_AWAY,),
}
PASSED = (
    f"the_error_is_looked_at_in_the_body[{PLAN}]",
    f"the_error_is_meant[{PLAN}]",
    f"without_a_fault_nothing_is_to_be_raised[{PLAN}]",
    "without_a_fault_nothing_is_to_be_raised[no fault]",
    "a_rank_that_is_killed_is_not_asked[writer.write_data@1=kill(SIGKILL)]",
    *(
        f"somebody_looks[{how}-{PLAN}]"
        for how in (
            *("outcomes", "verdict", "violations", "story", "seconds_to_know", "raise_for_violations"),
        )
    ),
    f"what_is_meant_needs_no_look[{PLAN}]",
    "somebody_looks_at_the_attempts_after[attempts_after]",
    "somebody_looks_at_the_attempts_after[verdict]",
    f"a_missing_error_is_a_broken_promise[{PLAN}]",
    "an_example_that_is_rejected_is_none",
)


@pytest.fixture
def case(all_kinds):
    return lambda name: all_kinds.cases[f"test_{name}"]


@pytest.mark.parametrize("name", FAILED)
def test_assertions_that_never_ran_are_no_pass(case, name):
    failed = case(name)
    assert failed.outcome == "failed"
    for told in FAILED[name]:
        assert told in " ".join(failed.text.split()), failed.text


@pytest.mark.parametrize("name", PASSED)
def test_what_somebody_says_or_looks_at_is(case, name):
    assert case(name).outcome == "passed", case(name).text


def test_the_marker_xfail_says_it_too(case):
    assert case(f"the_marker_xfail_says_it_too[{PLAN}]").outcome == "skipped"


def test_a_promise_that_broke_is_not_told_as_kept(case):
    for name in (f"what_is_meant_excuses_no_broken_promise[{PLAN}]", "the_body_ends_the_rank[0]"):
        assert KEPT not in case(name).text


def test_the_engines_own_words_for_another_rank_have_no_frame_of_ours(case):
    text = case(f"the_error_leaves_the_body[{PLAN}]").text
    assert "(RANK 1)" in text and "state_dict_saver.py" in text
    assert files_told(text) == []


def test_a_run_behind_the_yield_of_a_fixture_is_an_error_of_the_teardown(case, all_kinds):
    assert (
        "ERROR test_endings.py::test_nobody_looks_at_the_run_behind_a_yield - Failed: nob" in all_kinds.output
    )
    assert "test_a_failure_is_told_once - KeyError" in all_kinds.output
    assert "ERROR test_endings.py::test_a_failure_is_told_once" not in all_kinds.output
