"""What a checkpointer needs beside it runs as long as a campaign, and in no other way does one save."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec
import pytest

from faultkit import crash, strategies
from faultkit.damage import survey
from faultkit.exceptions import ScenarioError
from faultkit.history import replay_history
from tests.helpers.own_checkpointers import MINE

pytestmark = pytest.mark.slow

STARTED = []  # of this process: where a server was, the last one last


@contextlib.contextmanager
def server():
    with tempfile.TemporaryDirectory() as place:
        STARTED.append(place)
        yield {"server": place}


def require(place):
    if not place or not os.path.isdir(place):
        raise ConnectionError("there is no server")


def save(state, directory, step, server=""):
    require(server)
    MINE.save(state, directory, step)


def load(state, directory, server=""):
    require(server)
    return MINE.load(state, directory)


SERVED = msgspec.structs.replace(
    MINE, name="served", save=save, load=load, options=(("server", ""),), chosen=(), server=server
)


def ended():
    """How many servers were started since this was asked, none of which is there any more."""
    assert not any(Path(place).exists() for place in STARTED)
    count = len(STARTED)
    STARTED.clear()
    return count


def test_damage_is_judged_by_loads_from_the_server():
    found = survey(SERVED, world=1, actions=("flip", "delete"), samples=1)
    assert found.silent and found.scenario == "served.overwrite" and ended() == 1


def test_a_history_has_one_server_for_all_its_steps():
    assert replay_history(SERVED, [("start", 1), ("save",), ("restart", 1)]).startswith("HELD")
    assert ended() == 1


def test_histories_share_one_server_until_they_are_closed():
    machine = strategies.checkpoint_history(SERVED, rules=["save", "restart"], max_world=1)
    first = machine()
    second = machine()
    assert len(STARTED) == 1 and Path(STARTED[0]).exists()
    first.teardown()
    second.teardown()
    machine.pool.close()
    assert ended() == 1


def test_one_that_somebody_else_has_started_is_taken(tmp_path):
    with_one = SERVED.with_options(server=str(tmp_path))
    assert replay_history(with_one, [("start", 1), ("save",), ("restart", 1)]).startswith("HELD")
    assert not STARTED


def test_crashes_are_refused_with_the_reason():
    with pytest.raises(
        ScenarioError, match=r"'served\.overwrite' cannot be explored: it stores by a server, whose file"
    ):
        crash.explore(SERVED, world=1)
    assert not STARTED
