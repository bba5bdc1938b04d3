"""The page of a test session: every run with what it broke, safe to open whatever an engine said."""

from __future__ import annotations

from faultkit.report.runs_page import as_html


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
    page = as_html(runs, {"MASKED": 1, "HELD": 1}, {"crash_states": {"MIX": 2}, "histories": {}})
    assert "<h1>2 plans</h1>" in page and page.count("t.py::test") == 2
    assert "<code>no fault</code>" in page and "<i>agreement</i>: rank 1 says &lt;b&gt;nothing" in page
    assert "raise(OSError, &#34;&lt;i&gt;&#34;)" in page
    assert "2 crash states:" in page and "histories" not in page


def test_a_session_without_runs_has_a_page_too():
    assert "<h1>0 plans</h1>" in as_html([], {}, {})
