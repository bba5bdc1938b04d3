"""Lightning: a rank that fails leaves the others in a barrier, and what a save has written is not synced."""

from __future__ import annotations

import pytest

from faultkit import crash
from faultkit.history import replay_history
from tests_engines.found import require_version, words

pytestmark = pytest.mark.filterwarnings("ignore")  # of others, while they are imported

LIGHTNING = "examples.lightning.trainer:LIGHTNING"


def test_what_is_found_is_true_of_this_version():
    require_version("lightning", "2.6.6")


def test_a_life_without_a_fault_holds():
    history = [("start", 2), ("save",), ("overwrite",), ("save",), ("restart", 1), ("save",), ("restart", 2)]
    assert replay_history(LIGHTNING, history).startswith("HELD")


def test_an_error_of_rank_0_leaves_the_other_in_the_barrier():
    found = words(f"{LIGHTNING}.save", points=["fs.*"])
    assert {found[point] for point in ("fs.open@0", "fs.write@0", "fs.close@0")} == {"HUNG"}
    assert found["fs.mkdir@0"] == "HELD"  # the directory is there


def test_a_crash_leaves_half_of_the_only_file():
    """It is never synced, and a temporary file on another file system is copied over the old one, not renamed."""
    found = crash.explore(f"{LIGHTNING}.overwrite", world=1).findings
    found = {(model, one.phase, one.verdict) for one in found for model in one.models}
    assert {("ordered", "returned", "ERROR"), ("killed", "during", "ERROR")} <= found
