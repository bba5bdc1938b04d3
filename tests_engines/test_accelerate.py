"""accelerate: random states that cannot be read are passed over, and a killed save leaves the folder that is picked."""

from __future__ import annotations

import pytest

from faultkit import crash, damage
from faultkit.history import replay_history
from tests_engines.found import require_version, words

pytestmark = pytest.mark.filterwarnings("ignore")  # of others, while they are imported

ACCELERATE = "examples.accelerate.state:ACCELERATE"


def test_what_is_found_is_true_of_this_version():
    require_version("accelerate", "1.15.0")


def test_a_life_without_a_fault_holds():
    history = [("start", 2), ("save",), ("overwrite",), ("save",), ("restart", 2), ("save",), ("restart", 2)]
    assert replay_history(ACCELERATE, history).startswith("HELD")


def test_random_states_that_cannot_be_read_are_passed_over_and_others_are_not():
    found = words(f"{ACCELERATE}.load", points=['fs.open("random_states_*.pkl")', 'fs.open("optimizer.bin")'])
    assert found == {
        'fs.open("random_states_*.pkl")@0': "SILENT_WRONG",
        'fs.open("random_states_*.pkl")@1': "SILENT_WRONG",
        'fs.open("optimizer.bin")@0': "PARTIAL",  # an error, which the other rank does not hear of
        'fs.open("optimizer.bin")@1': "PARTIAL",
    }


def test_random_states_that_are_gone_are_not_noticed():
    found = damage.survey(ACCELERATE, world=2, actions=("delete",))
    silent = {case.damage.path.rpartition("/")[2] for case in found.silent}
    assert silent == {"random_states_0.pkl", "random_states_1.pkl"}


def test_a_killed_save_leaves_a_folder_that_is_picked():
    found = crash.explore(f"{ACCELERATE}.resume", ("killed",), world=2).findings
    by_word = {one.verdict: one.detail for one in found}
    assert "'step_2/" in by_word["ERROR"]  # no restart comes back, although step 1 is whole
    assert "drawn" in by_word["GARBAGE"]  # killed before the random states: it goes on with others
