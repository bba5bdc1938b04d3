"""Worlds that the quality tests share, and the search that they are all about."""

from __future__ import annotations

import hypothesis
import pytest

from faultkit import World
from tests.helpers.fixtures import worlds_by_size

EXAMPLES_MAX = 200
TIMEOUT_SECONDS = 20.0


class Search:
    """Looks for the smallest value that fails, and counts what that took."""

    def __init__(self, fails):
        self.fails = fails
        self.seen = {}
        self.examples = 0
        self.until_found = None

    def __call__(self, value):
        key = repr(value)
        self.examples += 1
        if key not in self.seen:
            self.seen[key] = self.fails(value)
        if self.seen[key] and self.until_found is None:
            self.until_found = self.examples
        return self.seen[key]

    def smallest(self, strategy):
        settings = hypothesis.settings(
            max_examples=EXAMPLES_MAX,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        return hypothesis.find(strategy, self, settings=settings)


@pytest.fixture(scope="module")
def worlds():
    """Gives the warm world of a size, the same one each time."""
    with worlds_by_size(timeout=TIMEOUT_SECONDS) as world:
        yield world


@pytest.fixture(scope="module")
def simulated():
    """Three simulated ranks."""
    with World(3, kind="simulated", timeout=TIMEOUT_SECONDS) as world:
        yield world


@pytest.fixture
def search(record_property):
    searches = []

    def start(fails):
        searches.append(Search(fails))
        return searches[-1]

    yield start
    for one in searches:
        record_property("examples_until_found", one.until_found)
        record_property("examples_with_shrinking", one.examples)
        record_property("runs", len(one.seen))
