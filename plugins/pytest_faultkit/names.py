"""The names that the plugin gives to suites, and which tests use them."""

from __future__ import annotations

import pytest

DEFAULT_SIZE = 4
DEFAULT_CRASH_SIZE = 2
KIND_NAMES = (
    "warm",
    "fresh",
    "spawn",
    "simulated",
    "auto",
)  # those of faultkit, which is not imported for them

MARKER_NAMES = ("world", "faults", "spmd", "crash")
FIXTURE_NAMES = ("world", "plan", "faulty_writer", "faulty_reader", "checkpoint_dir", "crash_states")
FIXTURES_MODULE = "pytest_faultkit.fixtures"


def is_marked(node: pytest.Item) -> bool:
    return any(mark.name in MARKER_NAMES for mark in node.iter_markers())


def is_used_by(item: pytest.Item) -> bool:
    """Whether the test has a marker of ours, or asks for a fixture of ours that nobody has overridden."""
    if is_marked(item):
        return True
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return any(
        name in definitions and getattr(definitions[name][-1].func, "__module__", "") == FIXTURES_MODULE
        for name in FIXTURE_NAMES
    )
