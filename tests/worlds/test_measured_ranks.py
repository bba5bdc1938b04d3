"""Where coverage.py measures, ranks end by themselves, so that what it has of them is written; else they are killed."""

from __future__ import annotations

import os

import pytest

from faultkit import World


def note_the_end(place):
    """Writes a file when the process ends by itself, as coverage.py does that wraps `os._exit`."""
    end, name = os._exit, os.path.join(place, os.environ["RANK"])

    def noted(status):
        with open(name, "w"):
            pass
        end(status)

    os._exit = noted


@pytest.mark.parametrize("kind", ["warm", "fresh", "simulated"])
@pytest.mark.parametrize("name", ["COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START", "COVERAGE_RUN"])
def test_ranks_end_by_themselves_where_they_are_measured(monkeypatch, tmp_path, kind, name):
    monkeypatch.setenv(name, "1")
    with World(2, kind=kind) as world:
        world.run(note_the_end, str(tmp_path))
    ended = sorted(os.listdir(tmp_path))
    assert bool(ended) == (name != "COVERAGE_RUN")
    assert kind == "simulated" or ended in ([], ["0", "1"])


def test_a_rank_that_does_not_end_is_killed_as_ever(monkeypatch, tmp_path):
    monkeypatch.setenv("COVERAGE_PROCESS_START", "1")
    monkeypatch.setattr("faultkit.worlds.rank_processes.END_SECONDS_MAX", 0.2)

    def stay():
        os._exit = lambda status: os.read(os.pipe()[0], 1)

    with World(2) as world:
        world.run(stay)
        pids = list(world.pids().values())
    assert pids and not any(os.path.exists(f"/proc/{pid}") for pid in pids)
