"""nvidia-resiliency-ext: a rank that fails leaves the others waiting, and what failed cannot be saved again."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from faultkit.history import checkpoint_history, replay_history
from tests_engines.found import by_itself, require_version, words

pytestmark = pytest.mark.filterwarnings("ignore")  # of others, while they are imported

LOCAL = "examples.nvrx.local:LOCAL"


def test_what_is_found_is_true_of_this_version():
    require_version("nvidia-resiliency-ext", "0.4.1")


@pytest.mark.parametrize("word", ["save", "load", "resume"])
def test_it_holds_with_nothing_broken(word):
    assert by_itself(f"{LOCAL}.{word}") == "HELD"


def test_a_life_without_a_fault_holds():
    history = [("start", 2), ("save",), ("restart", 2), ("save",), ("restart", 2), ("save",)]
    assert replay_history(LOCAL, history).startswith("HELD")


def test_any_error_of_one_rank_leaves_the_other_waiting():
    found = words(f"{LOCAL}.save")
    assert {
        "fs.open@0",
        "fs.open@1",
        "fs.write@0",
        "fs.write@1",
        "fs.rename@0",
        "fs.rename@1",
    } <= found.keys()
    assert set(found.values()) == {"HUNG"}


def test_a_killed_save_of_an_iteration_can_never_be_repeated():
    machine = checkpoint_history(LOCAL, max_world=1, rules=["save", "kill", "restart"])
    settings = hypothesis.settings(machine.TestCase.settings, max_examples=25, database=None)
    with pytest.raises(AssertionError, match=r"^UNUSABLE") as found:
        run_state_machine_as_test(hypothesis.seed(0)(machine), settings=settings)
    assert "SameMachineReplicationException" in str(found.value)


def test_on_two_ranks_the_other_one_waits_for_it_for_ever():
    history = [("start", 2), ("save", "fs.rename@1=kill(SIGKILL)"), ("restart", 2), ("save",)]
    with pytest.raises(AssertionError, match=r"^HUNG[^\n]*\n  rank 0 never came back in save 2") as found:
        replay_history(LOCAL, history)
    assert "SameMachineReplicationException" in str(found.value)
