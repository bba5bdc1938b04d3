"""The pytest sessions that several files of tests look at: each costs the start of a fork server, so they are few."""

from __future__ import annotations

import re

import numpy  # noqa: F401  a session within this one loads it for pytest-randomly, and no process loads it twice
import pytest

from tests.helpers.places import page
from tests.helpers.pytest_runs import SUITES, once

PAGE = page("command-line.md")
REPLAYED = "writer.write_data@1=raise(OSError, ENOSPC)"


@pytest.fixture(scope="session")
def all_kinds(tmp_path_factory):
    """One session with tests of all kinds, bodies on ranks, plans, properties, crashes, and a report in JSON."""
    [example] = re.findall(r"^```python\n(import pytest\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    files = {
        "conftest.py": (SUITES / "suite_conftest.py").read_text(),
        **{
            f"test_{name}.py": (SUITES / f"{name}.py").read_text()
            for name in ("bodies", "cases", "crashes", "endings", "plans", "properties")
        },
        "test_page.py": example,
        "train.py": (SUITES / "train.py").read_text(),
    }
    options = ("-ra", "--basetemp=files", "--faultkit-report", "reports/runs.json")
    return once(tmp_path_factory, "all-kinds", files, *options)


@pytest.fixture(scope="session")
def replayed(tmp_path_factory):
    """One session with the options that change what is run: kind, time limit, plan, and a profile of Hypothesis."""
    files = {
        "conftest.py": "import hypothesis\nhypothesis.settings.register_profile('dev', max_examples=7)\n",
        "test_replayed.py": (SUITES / "replayed.py").read_text(),
        "test_replayed_property.py": (SUITES / "replayed_property.py").read_text(),
    }
    options = ("--faultkit-kind=fresh", "--faultkit-timeout=1.5", f"--faultkit-replay={REPLAYED}")
    return once(tmp_path_factory, "replayed", files, *options, "--hypothesis-profile=nightly")
