"""Counts the programs that agreed only when they ran again, says which, and fails a session in which they are many.

Guarantees: `compared` notes of a test how many programs it compared and which of them needed a second try; the session,
with workers of xdist or without, prints them at its end, and fails where they are above `SHARE_MAX` of all that were
compared.  One alone is never too many: in a session of a few programs it says nothing.  Not covered: why it was so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

__all__ = ["AGAIN", "COUNT", "SHARE_MAX", "compared"]

SHARE_MAX = 0.01
COUNT, AGAIN = "programs compared", "programs tried again"


def compared(record_property: Callable[[str, object], None], count: int, again: Sequence[str]) -> None:
    """Note of this test: `count` programs were compared, those of `again` agreed only at another try."""
    record_property(COUNT, count)
    record_property(AGAIN, list(again))


class _Counter:
    """What the reports of a session say; those of workers arrive in the session that started them."""

    def __init__(self) -> None:
        self.count = 0
        self.again: list[str] = []

    @property
    def are_too_many(self) -> bool:
        return len(self.again) > max(1, SHARE_MAX * self.count)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            told = dict(report.user_properties)
            self.count += told.get(COUNT, 0)
            self.again += told.get(AGAIN, [])

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.are_too_many and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.count:
            return
        terminalreporter.section("conformance")
        text = f"{len(self.again)} of {self.count} programs agreed only at a second try"
        if self.are_too_many:
            text += f", which is above {SHARE_MAX:.0%}: the session fails"
        terminalreporter.write_line(text, red=self.are_too_many)
        for name in sorted(self.again):
            terminalreporter.write_line(f"  {name}")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Counter(), "programs that were tried again")
