"""The pytest sessions that several files of tests look at."""

from __future__ import annotations

import numpy  # noqa: F401  a session within this one loads it for pytest-randomly, and no process loads it twice
import pytest

from tests.helpers.pytest_runs import SUITES, once


@pytest.fixture(scope="session")
def all_kinds(tmp_path_factory):
    """One session with tests of all kinds, bodies on ranks and plans, and a report in JSON."""
    files = {
        "conftest.py": (SUITES / "suite_conftest.py").read_text(),
        "test_bodies.py": (SUITES / "bodies.py").read_text(),
        "test_cases.py": (SUITES / "cases.py").read_text(),
        "test_endings.py": (SUITES / "endings.py").read_text(),
        "test_plans.py": (SUITES / "plans.py").read_text(),
    }
    return once(tmp_path_factory, "all-kinds", files, "-ra", "--faultkit-report", "reports/runs.json")
