"""The page of a test session: every run with what it broke, safe to open whatever an engine said."""

from __future__ import annotations

from faultkit.report.runs_page import as_html
from tests.helpers.explorer_data import data_of


def run(**fields):
    shape = {
        "verdict": "HELD",
        "test": "t.py::test",
        "plan": "",
        "world": 2,
        "seconds": 0.5,
        "violations": [],
    }
    return {**shape, **fields}


def test_every_run_stands_there_with_its_plan_and_what_it_broke():
    broken = [{"check": "agreement", "evidence": "rank 1 says <b>nothing</b>"}]
    runs = [run(), run(verdict="MASKED", plan='writer.finish=raise(OSError, "<i>")', violations=broken)]
    data = data_of(as_html(runs, {"MASKED": 1, "HELD": 1}, {"crash_states": {"MIX": 2}, "histories": {}}))
    assert data["title"] == "2 plans" and [item["test"] for item in data["items"]] == ["t.py::test"] * 2
    assert data["items"][1]["evidence"] == [["agreement", "rank 1 says <b>nothing</b>"]]
    assert data["items"][1]["name"] == 'writer.finish=raise(OSError, "<i>")'
    assert data["notes"] == ["2 crash states: 2 MIX"]


def test_a_session_without_runs_has_a_page_too():
    assert data_of(as_html([], {}, {}))["title"] == "0 plans"
