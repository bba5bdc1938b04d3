"""Draws which rank goes first: seeds for the simulated world, from the plainest schedule to any.

A drawn seed is an argument of `World.run`.  Seed 0 lets rank after rank go on as far as it can, which is what a
failure shrinks to unless it needs another order.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

__all__ = ["schedules"]

SEED_MAX = 1 << 16


def schedules() -> SearchStrategy[int]:
    """Seeds of schedules: ``world.run(fn, seed=seed)`` on a world of kind ``simulated``.  Shrinks to 0."""
    return st.integers(min_value=0, max_value=SEED_MAX)
