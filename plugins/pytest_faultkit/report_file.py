"""Writes what all tests ran under which plan: as JSON for ``.json``, else as one page.

Guarantees: the file is written when the session ends, however it ends, and whole or not at all.  Where that fails, one
line says so, and a session that would have exited with 0 exits with pytest's 3.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from faultkit.report.whole_files import write_whole
from pytest_faultkit.ledger import TALLIED, tally

__all__ = ["ReportFile", "write"]

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>faultkit</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem;
color: #1b1b1f; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { border-bottom: 1px solid #ddd;
padding: .35rem .5rem; text-align: left; vertical-align: top } code { font-size: 13px }
.v { border-radius: 3px; color: #fff;
font-weight: 600; font-size: 12px; padding: .1rem .5rem; background: #b3261e } .v.HELD { background: #2e7d32 }
.v.INERT, .v.MASKED, .v.LATE { background: #8a6d00 } p.e { margin: .3rem 0 0; color: #555 }
</style>
<h1>{{ runs | length }} plans</h1>
<p>{% for verdict, count in totals.items() %}
<span class="v {{ verdict }}">{{ verdict }}</span> {{ count }} &ensp;
{% endfor %}</p>
{% for what, found in tallies.items() if found %}<p>{{ found.values() | sum }} {{ what | replace("_", " ") }}:
{% for verdict, count in found.items() %}<span class="v {{ verdict }}">{{ verdict }}</span> {{ count }} &ensp;
{% endfor %}</p>{% endfor %}
<table><tr><th>verdict<th>test, plan<th>ranks<th>seconds</tr>
{% for run in runs %}<tr><td><span class="v {{ run.verdict }}">{{ run.verdict }}</span><td>{{ run.test }}<br>
<code>{{ run.plan or "no fault" }}</code>{% for v in run.violations %}
<p class="e"><em>{{ v.check }}</em>: {{ v.evidence }}</p>{% endfor %}
<td>{{ run.world }}<td>{{ "%.3f" | format(run.seconds) }}</tr>
{% endfor %}</table></html>
"""


class ReportFile:
    """A plugin of pytest that collects the rows of all tests, also from xdist's workers, and writes them."""

    def __init__(self, config: pytest.Config) -> None:
        self.path = str(config.getoption("faultkit_report"))
        self.runs: list[dict[str, Any]] = []
        self.tallies: dict[str, Counter[str]] = {what: Counter() for what in TALLIED}
        self.told = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.runs += getattr(report, "faultkit_runs", ())
        if report.when == "call":
            for what, found in self.tallies.items():
                found += tally([report], what)

    @pytest.hookimpl(tryfirst=True)  # before the terminal tells what there is to tell
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        try:
            write(Path(self.path), self.runs, self.tallies)
        except OSError as error:
            self.told = f"faultkit: the report could not be written to {self.path}: {error.strerror or error}"
            if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        else:
            self.told = f"faultkit: the report is in {self.path}"

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(self.told)


def write(path: Path, runs: list[dict[str, Any]], tallies: dict[str, Counter[str]]) -> None:
    """Write `runs` and `tallies` to `path`, making its folder where that is missing.  Raises OSError."""
    totals = dict(Counter(str(run["verdict"]) for run in runs).most_common())
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        write_whole(path, json.dumps({"plans": runs, "totals": totals, **tallies}, indent=1) + "\n")
        return
    import jinja2

    page = jinja2.Environment(autoescape=True).from_string(PAGE)
    write_whole(path, page.render(runs=runs, totals=totals, tallies=tallies))
