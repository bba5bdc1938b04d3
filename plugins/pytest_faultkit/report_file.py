"""Writes what all tests ran under which plan: as JSON for ``.json``, else as one page.

Guarantees: the file is written when the session ends, however it ends, and whole or not at all.  Where that fails, one
line says so, and a session that would have exited with 0 exits with pytest's 3.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from faultkit.whole_files import write_whole
from pytest_faultkit.run_log import TALLIED, tally

__all__ = ["ReportFile", "write"]

TEXT_CHARACTERS_MAX = 20_000  # of what a failed test tells


class ReportFile:
    """A plugin of pytest that collects the rows of all tests, also from xdist's workers, and writes them."""

    def __init__(self, config: pytest.Config) -> None:
        self.path = str(config.getoption("faultkit_report"))
        self.runs: list[dict[str, Any]] = []
        self.tests: dict[str, dict[str, str]] = {}
        self.tallies: dict[str, Counter[str]] = {what: Counter() for what in TALLIED}
        self.told = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.runs += getattr(report, "faultkit_runs", ())
        if report.when == "call" or report.outcome != "passed":
            told = self.tests.setdefault(report.nodeid, {"outcome": "", "text": ""})
            if report.failed:
                told["text"] += report.longreprtext[:TEXT_CHARACTERS_MAX]
            if told["outcome"] not in ("failed", "error"):
                told["outcome"] = "error" if report.failed and report.when != "call" else report.outcome
        if report.when == "call":
            for what, found in self.tallies.items():
                found += tally([report], what)

    @pytest.hookimpl(tryfirst=True)  # before the terminal tells what there is to tell
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        try:
            write(Path(self.path), self.runs, self.tallies, self.tests)
        except OSError as error:
            self.told = f"faultkit: the report could not be written to {self.path}: {error.strerror or error}"
            if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        else:
            self.told = f"faultkit: the report is in {self.path}"

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(self.told)


def write(
    path: Path,
    runs: list[dict[str, Any]],
    tallies: dict[str, Counter[str]],
    tests: dict[str, dict[str, str]],
) -> None:
    """Write `runs`, `tallies` and `tests` to `path`, making its folder where that is missing.  Raises OSError."""
    from faultkit.report.made import made_here

    totals = dict(Counter(str(run["verdict"]) for run in runs).most_common())
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        outcomes = {test: told["outcome"] for test, told in tests.items()}
        made = msgspec.to_builtins(made_here())
        found = {"made": made, "plans": runs, "totals": totals, **tallies, "tests": outcomes}
        write_whole(path, json.dumps(found, indent=1) + "\n")
        return
    from faultkit.report.runs_page import as_html

    write_whole(path, as_html(runs, totals, tallies, tests))
