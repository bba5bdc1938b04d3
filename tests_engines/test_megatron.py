"""megatron-core: what cannot be written leaves others waiting; an iteration written over in place is lost or mixed."""

from __future__ import annotations

import pytest

from faultkit import crash
from tests_engines.found import by_itself, require_version, words

pytestmark = pytest.mark.filterwarnings("ignore")  # of others, while they are imported

DIST = "examples.megatron.dist:DIST"


def found_by_crash(word, *models):
    """(verdict, whether save had returned, what the load said) of each violation."""
    found = crash.explore(f"{DIST}.{word}", models)
    return {(finding.verdict, finding.phase, finding.detail) for finding in found.findings}


def some(found, verdict, phase, words):
    return any((verdict, phase) == (one, when) and words in said for one, when, said in found)


def test_what_is_found_is_true_of_this_version():
    require_version("megatron-core", "0.16.1")


@pytest.mark.parametrize("word", ["load", "resume"])  # each takes seconds; a sweep asks it of a save first
def test_it_holds_with_nothing_broken(word):
    assert by_itself(f"{DIST}.{word}") == "HELD"


def test_metadata_leave_the_other_rank_waiting_and_the_processes_that_write_tell_no_cause():
    found = words(f"{DIST}.save", points=("fs.rename", 'fs.open("metadata.json")', "fs.open(child)"))
    assert found == {
        "fs.rename@0": "HUNG",
        'fs.open("metadata.json")@0': "HUNG",
        "fs.open(child)@0": "MASKED",
        "fs.open(child)@1": "MASKED",
    }


def test_kills_over_an_older_iteration_mix_it_with_the_new_one_or_lose_both():
    found = found_by_crash("overwrite", "killed")
    assert some(found, "MIX", "during", "samples is new")  # common.pt is there, the shards are not
    assert some(found, "ERROR", "during", "JSONDecodeError")  # metadata.json is written in place


def test_a_power_cut_costs_what_a_save_had_reported():
    found = found_by_crash("save", "killed", "ordered", "weak")
    assert some(found, "ERROR", "during", "JSONDecodeError")
    assert some(found, "ABSENT", "returned", "")  # metadata.json is not synced
    assert some(found, "ERROR", "returned", "PytorchStreamReader failed")  # nor is common.pt
    # where common.pt is missing, the way to say so fails itself
    assert some(found, "ERROR", "returned", "AttributeError: 'str' object has no attribute 'iterdir'")
