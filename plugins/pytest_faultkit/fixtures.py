"""The fixtures: `world`, `plan`, `faulty_writer`, `faulty_reader`, `crash_states` and `checkpoint_dir`.

Each is of the case of its test (`pytest_faultkit.cases`).  Loading this module imports nothing but pytest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

__all__ = ["checkpoint_dir", "crash_states", "faulty_reader", "faulty_writer", "plan", "world"]


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Any:
    """A `faultkit.World` as the marker ``world`` says, with `DEFAULT_SIZE` ranks where there is none.

    Its ranks are kept from test to test while they are healthy.  ``world.run(fn)`` runs under the plan of the
    marker ``faults`` where it is given no `plan` of its own (``plan=None``: none).  On a rank it is a small
    value with `rank`, `size` and `kind`.
    """
    from pytest_faultkit import cases

    return cases.of(request.node).world()


@pytest.fixture
def plan(request: pytest.FixtureRequest) -> Any:
    """The `faultkit.FaultPlan` of the marker ``faults``; empty where there is none."""
    from pytest_faultkit import cases

    return cases.of(request.node).plan()


@pytest.fixture
def faulty_writer(request: pytest.FixtureRequest) -> Any:
    """A `faultkit.FaultyStorageWriter` with the test's plan that stores nothing; each rank has its own."""
    from pytest_faultkit import cases

    return cases.of(request.node).storage("FaultyStorageWriter")


@pytest.fixture
def faulty_reader(request: pytest.FixtureRequest) -> Any:
    """A `faultkit.FaultyStorageReader` with the test's plan that reads nothing; each rank has its own."""
    from pytest_faultkit import cases

    return cases.of(request.node).storage("FaultyStorageReader")


@pytest.fixture
def crash_states(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Loads every state that a crash could leave after a save: called with a scenario, or with functions that save
    and load, it gives a `faultkit.crash.Exploration` (see `pytest_faultkit.crashes.CrashStates`).
    """
    from pytest_faultkit import cases, crashes

    case = cases.of(request.node)
    size = case.settings.world.size if request.node.get_closest_marker("world") else None
    case.crash_states = crashes.CrashStates(request.node, size, lambda: tmp_path_factory.mktemp("crash"))
    return case.crash_states


@pytest.fixture
def checkpoint_dir(tmp_path: Path) -> Path:
    """An empty directory of this test alone, the same one on every rank."""
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    return directory
