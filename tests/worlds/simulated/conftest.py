"""What the tests of the simulated world share: worlds that keep their host for a whole module."""

from __future__ import annotations

import shutil

import pytest

from faultkit import World


@pytest.fixture(scope="module")
def pair():
    """A simulated world of two ranks."""
    with World(2, kind="simulated") as world:
        yield world


@pytest.fixture(scope="module")
def four():
    """A simulated world of four ranks."""
    with World(4, kind="simulated") as world:
        yield world


@pytest.fixture
def place(tmp_path):
    """A directory that does not exist, and how to make it so again."""

    class Place:
        path = tmp_path / "checkpoint"

        def clear(self):
            shutil.rmtree(self.path, ignore_errors=True)

    return Place()
