"""What the tests of worlds share: warm worlds, kept for a whole module, and scripts watched from outside."""

from __future__ import annotations

import pytest

from faultkit import World
from tests.helpers.watched_scripts import Script


@pytest.fixture(scope="module")
def pair():
    """A warm world of two ranks."""
    with World(2) as world:
        yield world


@pytest.fixture(scope="module")
def three():
    """A warm world of three ranks."""
    with World(3) as world:
        yield world


@pytest.fixture
def script(tmp_path):
    """Runs a script that uses faultkit as a process of its own, and ends what it leaves whatever happens."""
    started = []

    def start(body):
        started.append(Script(body, tmp_path / f"script_{len(started)}.py"))
        return started[-1]

    yield start
    for one in started:
        one.end()
