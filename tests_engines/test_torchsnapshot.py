"""torchsnapshot: a rank that fails leaves the others waiting, a short file is loaded, a kill costs both snapshots."""

from __future__ import annotations

import pytest

from faultkit import crash
from faultkit.damage import survey
from tests_engines.found import by_itself, require_version, words

pytestmark = pytest.mark.filterwarnings("ignore")  # of others, while they are imported

TAKE = "examples.torchsnapshot.take:TAKE"


def test_what_is_found_is_true_of_this_version():
    require_version("torchsnapshot-nightly", "2024.7.26")


@pytest.mark.parametrize("word", ["save", "load", "overwrite", "resume"])
def test_it_holds_with_nothing_broken(word):
    assert by_itself(f"{TAKE}.{word}") == "HELD"


def test_an_error_of_one_rank_leaves_the_other_in_the_barrier():
    found = words(f"{TAKE}.save")
    for point in ("fs.open", "fs.write", "fs.close"):
        assert (found[f"{point}@0"], found[f"{point}@1"]) == ("HUNG", "HUNG")


def test_a_data_file_that_is_too_short_is_loaded_without_an_error():
    found = survey(TAKE, actions=("truncate",))
    wrong = [case for case in found.silent if "batched/" in case.damage.path]
    assert wrong and all("were never filled" in case.detail for case in wrong)


def test_a_kill_while_the_metadata_are_written_over_costs_both_snapshots():
    found = crash.explore(f"{TAKE}.overwrite", ("killed",))
    [finding] = found.findings
    assert (finding.verdict, finding.allowed) == ("ERROR", ("OLD", "NEW"))
    assert finding.at.startswith("killed after open(step_2/.snapshot_metadata) on rank 0")
