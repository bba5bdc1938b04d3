"""What general campaigns find in an example, by point and rank, as their words."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from faultkit import FaultPlan
from faultkit.sweep import sweep

WORLD_SIZE = 2


def require_version(distribution: str, version: str) -> None:
    """What is found is true of this version; with another one, look again."""
    assert importlib.metadata.version(distribution) == version


def by_itself(scenario: str) -> str:
    """The verdict of a scenario with nothing broken."""
    return words(scenario, plans=[FaultPlan()])[""]


def words(scenario: str, **options: Any) -> dict[str, str]:
    """The verdict of each plan of a sweep, by what it breaks: ``{"fs.open@0": "HUNG"}``."""
    journal = sweep(scenario, world=WORLD_SIZE, **options)
    assert journal.baseline is None, journal.results[0].violations
    return {str(result.plan).partition("=")[0]: str(result.verdict) for result in journal.results}
