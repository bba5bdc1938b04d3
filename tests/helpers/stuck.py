"""How long the tests wait for what should end by itself: a limit for what is stuck, never a measure of the machine.

A machine that does twenty-five other things takes minutes for what takes seconds on a quiet one, and a test that fails
of that says nothing.  So these are far above what anything takes there; the time limit of each test (``timeout`` in
``pyproject.toml``) is above them, so that what was stuck is told by the wait itself.
"""

from __future__ import annotations

__all__ = ["GONE_SECONDS_MAX", "SECONDS_MAX"]

SECONDS_MAX = 540.0  # for a program that a test starts, an inner session of pytest
GONE_SECONDS_MAX = 120.0  # for a process that was ended to be gone
