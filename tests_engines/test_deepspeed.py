"""DeepSpeed, ZeRO 1: a rank that cannot write, `latest` included, leaves the others waiting; found on warm ranks."""

from __future__ import annotations

import pytest

from faultkit import crash
from faultkit.history import replay_history
from tests_engines.found import by_itself, require_version, words

pytestmark = pytest.mark.filterwarnings("ignore")  # of others, while they are imported

ZERO = "examples.deepspeed.zero:ZERO"


def test_what_is_found_is_true_of_this_version():
    require_version("deepspeed", "0.19.8")


@pytest.mark.parametrize("word", ["save", "load", "overwrite", "resume"])
def test_it_holds_with_nothing_broken(word):
    assert by_itself(f"{ZERO}.{word}") == "HELD"


def test_an_error_of_one_rank_leaves_the_other_in_the_barrier():
    found = words(f"{ZERO}.save")
    for point in ("fs.open", "fs.write", "fs.close"):
        assert (found[f"{point}@0"], found[f"{point}@1"]) == ("HUNG", "HUNG")
    assert found['fs.open("latest")@0'] == "HUNG"


def test_latest_names_a_checkpoint_of_which_another_rank_has_written_nothing():
    history = [("start", 2), ("save", "fs.open@1=kill(SIGKILL)"), ("restart", 2)]
    with pytest.raises(AssertionError, match=r"^PARTIAL[^\n]*\n  load raised on rank 1, and not on rank 0"):
        replay_history(ZERO, history)


def test_a_tag_that_is_saved_again_and_killed_half_way_loads_as_a_mix():
    found = crash.explore(f"{ZERO}.overwrite", ("killed",))
    assert "MIX" in {finding.verdict for finding in found.findings}


def test_a_rank_that_cannot_look_for_latest_starts_afresh_beside_the_others():
    found = words(f"{ZERO}.load", points=("fs.stat",))
    assert found == {"fs.stat@0": "SILENT_WRONG", "fs.stat@1": "SILENT_WRONG"}
