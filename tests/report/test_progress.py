"""Who waits is told how far it is: on a terminal by a line that is renewed, in a log by one now and then."""

from __future__ import annotations

import io
import os
import pty
import select
import sys
import threading

import pytest

from faultkit.report import progress
from faultkit.report.progress import described, following, time_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")],
)
def test_times_are_told_as_one_says_them(seconds, words):
    assert time_words(seconds) == words


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ((8.0, None, None, ""), "saving: 8 s"),
        ((10.0, 20, 50, "plans"), "saving: 20 of 50 plans, 2.0 a second, 15 s left"),
        ((10.0, 4, 6, "plans"), "saving: 4 of 6 plans, 2.5 s each, 5 s left"),
        ((10.0, 2_000, None, "states"), "saving: 2,000 states, 200.0 a second, 10 s"),
    ],
)
def test_how_much_how_fast_and_how_long_yet(given, line):
    assert described("saving", *given) == line


class Log(io.StringIO):
    """A log that says when a line was written."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def flush(self):
        self.written.set()


@pytest.fixture
def told(monkeypatch):
    monkeypatch.delenv("FAULTKIT_PROGRESS", raising=False)


def test_a_log_gets_a_line_now_and_then_also_where_the_work_says_nothing(monkeypatch, told):
    log = Log()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.001)
    with following("recording") as tell:
        assert log.written.wait(30)
        assert log.getvalue().startswith("recording: 0 s\n")
        tell("loading \x1b[2J", 3, 6, "states")
        log.written.clear()
        assert log.written.wait(30) and log.written.clear() is None and log.written.wait(30)
    assert "loading \\x1b[2J: 3 of 6 states, " in log.getvalue()
    size = len(log.getvalue())
    assert not [thread for thread in threading.enumerate() if thread.name == "faultkit progress"]
    assert len(log.getvalue()) == size


def test_nothing_is_told_where_that_is_not_wanted_or_takes_no_time(monkeypatch, told):
    log = Log()
    monkeypatch.setattr(sys, "stderr", log)
    with following("quick"):
        pass
    monkeypatch.setenv("FAULTKIT_PROGRESS", "0")
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.001)
    with following("unwanted") as tell:
        tell("x", 1, 2, "plans")
        assert not log.written.wait(0.05)
    assert log.getvalue() == ""


def test_a_terminal_has_a_line_that_goes_with_the_work(monkeypatch, told):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        seen = ""
        with following("running plans") as tell:
            tell("HUNG 3", 3, 6, "plans")
            while "HUNG 3: 3 of 6 plans" not in seen:
                assert select.select([ours], [], [], 30)[0]
                seen += os.read(ours, 100_000).decode()
        terminal.flush()
        seen = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "\x1b[2K" in seen and "\x1b[?25h" in seen  # erased, and the cursor is back
