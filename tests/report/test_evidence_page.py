"""The page of what a job left: every rank and every plan, times beside each other, secrets masked, text as text."""

from __future__ import annotations

import pytest

from faultkit.evidence import read, tell
from faultkit.evidence.mapping import Mapping
from faultkit.evidence.trying import Reproduction, Tried
from faultkit.report.evidence_page import as_html
from faultkit.runs.timeline import Lane, Timeline
from tests.helpers.explorer_data import data_of

SECRET = "hf_" + "a" * 30
LOG = f"""[rank1]: Traceback (most recent call last):
[rank1]:   File "train.py", line 3, in save
[rank1]:     write()
[rank1]: OSError: [Errno 28] No space left on device: token {SECRET} </script><b>
[rank0]: Traceback (most recent call last):
[rank0]:   File "train.py", line 3, in save
[rank0]:     write()
[rank0]: ValueError: another
"""
PLAN = "writer.write_data@1=raise(OSError, ENOSPC)"


@pytest.fixture
def found(tmp_path):
    (tmp_path / "console.log").write_text(LOG)
    told = tell(read([str(tmp_path / "console.log")]))
    tried = tuple(
        Tried(
            plan=plan,
            small_plan=plan,
            why=f"because of {SECRET}",
            likeness=likeness,
            verdict=verdict,
            kind="warm",
            differs=differs,
            shown=("raised ValueError", "raised OSError"),
            story="the story",
            timeline=Timeline(0.5, (Lane(0), Lane(1))),
        )
        for plan, likeness, verdict, differs in (
            (PLAN, 1.0, "HELD", ()),
            ("writer.reset@0=hang", 0.2, "HUNG", (0,)),
        )
    )
    return Reproduction(told=told, scenario="dcp-save", mapping=Mapping((0, 1)), tried=tried)


def test_every_plan_is_beside_what_was_left(found):
    data = data_of(as_html(found))
    left, best, other = data["items"]
    assert [left["word"], best["word"], other["word"]] == ["left", "HELD", "HUNG"]
    assert left["timeline"] == best["beside"] == other["beside"]
    assert [lane["end"] for lane in left["timeline"]["lanes"]] == ["raised", "raised"]
    assert best["timeline"]["seconds"] == 0.5 and best["place"] == "the best" != other["place"]
    ways = dict(best["ways"])
    assert ways["in a shell"].startswith(f"faultkit replay '{PLAN}' --scenario dcp-save --world 2")
    assert f"@pytest.mark.faults('{PLAN}')" in ways["as a test"]
    assert ["showed something else", "rank 0"] in other["facts"]
    assert [row["cells"] for row in data["matrix"]["rows"]] == [
        {"rank 0": {"items": [number]}, "rank 1": {"items": [number]}} for number in (0, 1, 2)
    ]


def test_each_fact_has_its_line_and_no_secret_is_shown(found):
    page = as_html(found)
    [(_, heads, rows)] = data_of(page)["tables"]
    assert heads[0] == "rank" and [row[:2] for row in rows] == [["0", "raised"], ["1", "raised"]]
    assert "console.log:" in rows[1][-1] and "No space left" in rows[1][2]
    assert SECRET not in page and "***" in rows[1][2]
    assert "</script><b>" not in page
