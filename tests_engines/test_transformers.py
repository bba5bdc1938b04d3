"""transformers: a killed save leaves the folder that is picked, and each rank picks for itself."""

from __future__ import annotations

import pytest

from faultkit import crash
from faultkit.history import replay_history
from tests_engines.found import require_version, words

pytestmark = pytest.mark.filterwarnings("ignore")  # of others, while they are imported

TRANSFORMERS = "examples.transformers.trainer:TRANSFORMERS"


def test_what_is_found_is_true_of_this_version():
    require_version("transformers", "5.24.0")
    require_version("accelerate", "1.15.0")


def test_a_life_without_a_fault_holds():
    history = [("start", 2), ("save",), ("overwrite",), ("save",), ("restart", 1)]
    assert replay_history(TRANSFORMERS, history).startswith("HELD")


def test_a_killed_save_leaves_a_folder_that_is_picked():
    found = crash.explore(f"{TRANSFORMERS}.resume", ("killed",), world=1)
    assert {"ERROR"} == {one.verdict for one in found.findings}  # although step 1 is whole
    assert all(one.phase == "during" and "checkpoint-2" in one.detail for one in found.findings)


def test_a_rank_that_does_not_see_the_folder_begins_anew_alone():
    assert words(f"{TRANSFORMERS}.load", points=["fs.stat", "fs.mkdir"]) == {
        "fs.stat@0": "SILENT_WRONG",
        "fs.stat@1": "SILENT_WRONG",
        "fs.mkdir@0": "HELD",  # the directory is there
    }
