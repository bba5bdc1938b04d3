"""Under GitHub Actions: an annotation at the line of each test that broke a promise, and a summary of the job.

Guarantees: it is registered in such a job only, in the process that has all reports.  Not covered: tests without a
run, which pytest tells as ever.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter

import pytest

from faultkit.report.github import ANNOTATIONS_MAX, annotation, tell

__all__ = ["Annotations"]


class Annotations:
    """A plugin of pytest that collects what tests with runs came to."""

    def __init__(self, config: pytest.Config) -> None:
        self.root = str(config.rootpath)
        self.verdicts: Counter[str] = Counter()
        self.failed: list[tuple[pytest.TestReport, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        verdicts = [str(value) for name, value in report.user_properties if name == "faultkit_verdict"]
        if report.when == "call":
            self.verdicts.update(verdicts)
        if report.failed and (
            verdicts or any(name.startswith("faultkit_") for name, _ in report.user_properties)
        ):
            self.failed.append((report, next((word for word in verdicts if word != "HELD"), "failed")))

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        rows = [
            (word, f"{report.nodeid}: {_said(report)}", f"pytest {shlex.quote(report.nodeid)}", "")
            for report, word in self.failed
        ]
        tell("faultkit: tests", dict(self.verdicts.most_common()), rows, annotate=False)
        for report, word in self.failed[:ANNOTATIONS_MAX]:
            path, line, _ = report.location
            base = os.environ.get("GITHUB_WORKSPACE") or self.root
            file = os.path.relpath(os.path.join(self.root, path), base)
            terminalreporter.ensure_newline()
            terminalreporter.write_line(
                annotation(
                    f"faultkit: {word}", _said(report), file=file, line=None if line is None else line + 1
                )
            )


def _said(report: pytest.TestReport) -> str:
    """What the test failed with, in a few lines."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(getattr(crash, "message", "") or report.longreprtext)
    return "\n".join(text.splitlines()[:12])[:2_000]
