"""The stock engine's checkpoint, damaged: what its load notices is what the table says."""

import json

import pytest

from faultkit import damage
from faultkit.report.damage_page import as_html
from tests.helpers.explorer_data import data_of


def outcomes(found, kind, action):
    return {case.outcome for case in found.cell(kind, action)}


def test_no_load_notices_damage_to_the_values_of_a_tensor(found):
    for action in ("flip", "zero", "swap"):
        assert outcomes(found, "tensor bytes", action) == {"WRONG"}, action
    assert not found.held
    assert {case.damage.kind for case in found.silent} == {"tensor bytes", "whole file"}


def test_a_shard_of_an_older_save_is_taken_for_good(found):
    replaced = [case for case in found.cell("whole file", "older") if ".distcp" in case.damage.path]
    assert {case.judgement.verdict for case in replaced} == {"MIX"}


def test_files_that_are_missing_or_cut_off_are_noticed(found):
    assert outcomes(found, "whole file", "delete") == {"noticed"}
    for kind in ("tensor bytes", "zip end", "metadata storage"):
        assert outcomes(found, kind, "truncate") == {"noticed"}, kind


def test_filler_may_hold_anything(found):
    assert outcomes(found, "zip padding", "flip") == outcomes(found, "zip padding", "zero") == {"harmless"}


def test_the_error_of_a_load_is_told(found):
    [case] = [one for one in found.cell("whole file", "delete") if one.damage.path.endswith("__0_0.distcp")]
    assert case.judgement.verdict == "ERROR" and "FileNotFoundError" in case.detail


def test_the_table_counts_every_case_once(found):
    assert sum(found.totals.values()) == len(found.cases)
    assert sum(len(found.cell(kind, action)) for kind in found.kinds for action in found.actions) == len(
        found.cases
    )
    text = found.text()
    assert "tensor bytes" in text and "1 WRONG" in text and "seed 0" in text
    assert "WRONG: flip bit" in text and "elements are neither new nor old" in text
    with pytest.raises(AssertionError, match="1 WRONG"):
        found.raise_for_violations()


def test_the_json_has_every_case_and_the_page_too(found):
    told = json.loads(found.to_json())
    assert told["totals"] == found.totals and len(told["cases"]) == len(found.cases)
    assert {case["outcome"] for case in told["cases"]} == set(found.totals)
    data = data_of(as_html(found))
    assert [item["name"] for item in data["items"]] == [str(case.damage) for case in found.cases]
    led = [
        number for row in data["matrix"]["rows"] for cell in row["cells"].values() for number in cell["items"]
    ]
    assert sorted(led) == list(range(len(found.cases)))


def test_what_was_found_until_an_interrupt_is_told():
    def interrupt(done, of):
        if done == 2:
            raise KeyboardInterrupt

    by_then = []
    with pytest.raises(KeyboardInterrupt):
        damage.survey(
            "dcp-fresh,elements=8",
            world=1,
            actions=("delete", "flip"),
            samples=1,
            workers=1,
            on_progress=interrupt,
            on_interrupt=by_then.append,
        )
    [found] = by_then
    assert len(found.cases) == 2 and found.left_out == json.loads(found.to_json())["left_out"] > 0
    assert f"interrupted: {found.left_out} more damages were not judged" in found.text()


def test_what_one_process_cannot_load_is_loaded_by_as_many_ranks_as_saved_it():
    found = damage.survey("dcp-rank-local.load", actions=("older",))
    replaced = [case for case in found.cell("whole file", "older") if ".distcp" in case.damage.path]
    assert {case.judgement.verdict for case in replaced} == {"MIX"}
