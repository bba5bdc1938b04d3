"""The list of checkpointers: what each is, and whether it can run here, at the cost of a listing."""

from __future__ import annotations

import json
import subprocess
import sys

from faultkit import checkpointers
from faultkit.report.checkpointers import as_json, as_text
from tests.helpers.stuck import SECONDS_MAX


def test_each_is_listed_with_what_it_can_be_put_to():
    told = {entry["name"]: entry for entry in json.loads(as_json())["checkpointers"]}
    assert set(told) == set(checkpointers.BUILT_IN.homes)
    assert told["dcp-async"]["scenarios"][-1] == "async" and "async" not in told["dcp"]["scenarios"]
    assert told["dcp"]["runs"] and told["dcp"]["options"]["threads"] == 1
    for entry in told.values():
        assert entry["runs"] == (not entry["missing"]) and entry["summary"]


def test_what_cannot_run_here_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(
        "faultkit.report.checkpointers.missing", lambda one: ("nothing>=2, which is not installed",)
    )
    assert as_text().count("cannot run: nothing>=2, which is not installed") == len(
        checkpointers.BUILT_IN.homes
    )


def test_no_line_is_longer_than_the_terminal():
    assert max(map(len, as_text(60).splitlines())) <= 60


def test_listing_them_imports_no_torch():
    code = "import sys; from faultkit.report.checkpointers import as_text; as_text(); print('torch' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=SECONDS_MAX
    )
    assert told.stdout == "False\n"
