"""Hypothesis profiles for tests that run worlds: ``dev``, ``ci`` and ``nightly``.

    dev       100 examples, random, the example database remembers failures
    ci        200 examples, the same ones every time, no database; a failure prints what reproduces it
    nightly   5,000 examples, random, so that every night looks elsewhere; the database remembers

None of them has a deadline or the health check ``too_slow``: how long an example takes is the world's matter,
and a world has a timeout of its own.  A fixture of function scope is allowed, since a world is meant to
survive from example to example.  ``--hypothesis-seed`` and ``--hypothesis-profile`` work as always.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

__all__ = ["NAMES", "register"]

NAMES = ("dev", "ci", "nightly")

_SUPPRESSED = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)


def register(prefix: str = "") -> tuple[str, ...]:
    """Register the profiles, under their names with `prefix` before them; returns the names.

    Loads none: ``hypothesis.settings.load_profile("dev")`` does, or ``--hypothesis-profile=dev``.
    """
    # said outright: where Hypothesis sees a CI service, its own default is to draw the same examples each time
    base = settings(deadline=None, derandomize=False, suppress_health_check=_SUPPRESSED, print_blob=True)
    made = {
        "dev": settings(base, max_examples=100),
        "ci": settings(base, max_examples=200, derandomize=True, database=None),
        "nightly": settings(base, max_examples=5_000),
    }
    for name, profile in made.items():
        settings.register_profile(prefix + name, profile)
    return tuple(prefix + name for name in made)
