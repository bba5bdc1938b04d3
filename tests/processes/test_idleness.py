"""What is remembered of the machine's pressure never makes a rank seem to have waited for longer than it did."""

from __future__ import annotations

import threading
import time

import pytest

from faultkit.processes import idleness


@pytest.fixture
def read(monkeypatch):
    """What was queued, as a list whose last value is read; gives also how often it was."""
    values, reads = [0.0], []
    monkeypatch.setattr(idleness, "WAITED_SECONDS_MIN", 0.0)
    monkeypatch.setattr(idleness, "_last_read", (float("-inf"), 0.0, 0))
    monkeypatch.setattr(idleness, "_queued", lambda: reads.append(values[-1]) or values[-1])
    return values, reads


def test_runs_of_one_moment_read_it_once(read):
    for _ in range(50):
        idleness.of_process()
    assert len(read[1]) == 1


def test_what_was_queued_since_it_was_read_counts_as_queued(read):
    values, _ = read
    idleness.of_process()
    values.append(1000.0)
    ask = idleness.of_process()
    assert ask() == 0.0, "a thousand seconds in which something waited leave no idle time"


def test_another_thread_reads_its_own(read):
    idleness.of_process()
    other = threading.Thread(target=idleness.of_process)
    other.start()
    other.join()
    assert len(read[1]) == 2


def test_after_a_second_it_is_read_again(read, monkeypatch):
    idleness.of_process()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1.5)
    idleness.of_process()
    assert len(read[1]) == 2
