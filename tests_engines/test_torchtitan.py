"""torchtitan: its purge counts saves that failed, and each rank decides for itself what it loads."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from faultkit.history import checkpoint_history, replay_history
from tests_engines.found import require_version, words

pytestmark = pytest.mark.filterwarnings("ignore")  # of others, while they are imported

TITAN = "examples.torchtitan.manager:TITAN"
LATER = f"{TITAN},async_mode=async"
FAILS = "writer.prepare_local_plan:after@0=raise(ValueError)"
SLOW_TO_LOOK = (
    f"{FAILS}; fs.listdir@0=delay(0.5)"  # the purge comes after the thread of the save, not beside it
)
TWO_FAIL = [("start", 1), ("save",), ("save", SLOW_TO_LOOK), ("save", SLOW_TO_LOOK), ("restart", 1)]


def test_what_is_found_is_true_of_this_version():
    require_version("torchtitan", "0.3.0")


@pytest.mark.parametrize("manager", [TITAN, LATER])
def test_a_life_without_a_fault_holds(manager):
    history = [("start", 2), ("save",), ("save",), ("save",), ("restart", 1), ("save",), ("restart", 2)]
    assert replay_history(manager, history).startswith("HELD")


def test_two_asynchronous_saves_that_fail_cost_the_only_good_one():
    machine = checkpoint_history(LATER, max_world=1, rules=["save", "fail", "restart"])
    settings = hypothesis.settings(machine.TestCase.settings, max_examples=25, database=None)
    with pytest.raises(AssertionError, match=r"^(the worlds disagree: )?LOST_WORK") as found:  # a race
        run_state_machine_as_test(hypothesis.seed(0)(machine), settings=settings)
    assert "the job came back to nothing, although save" in str(found.value)


def test_two_saves_that_fail_cost_nothing_where_a_save_is_waited_for():
    with pytest.raises(AssertionError, match=r"^LOST_WORK"):
        replay_history(LATER, TWO_FAIL)
    assert replay_history(TITAN, TWO_FAIL).startswith("HELD")


def test_a_rank_that_does_not_see_the_step_begins_anew_alone():
    found = words(f"{TITAN}.load", points=["fs.stat", "fs.seek"])
    assert {found["fs.stat@0"], found["fs.stat@1"]} == {"SILENT_WRONG"}
    assert {found["fs.seek@0"], found["fs.seek@1"]} == {"HELD"}  # nothing seeks where it matters
