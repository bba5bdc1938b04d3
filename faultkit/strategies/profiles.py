"""Hypothesis profiles for tests that run worlds: ``dev``, ``ci`` and ``nightly``.

    dev       100 examples, random, the example database remembers failures
    ci        200 examples, the same ones every time, no database; a failure prints what reproduces it
    nightly   5,000 examples, random, so that every night looks elsewhere; the database remembers

None of them has a deadline or the health check ``too_slow``: how long an example takes is the world's matter,
and a world has a timeout of its own.  A fixture of function scope is allowed, since a world is meant to
survive from example to example.  ``--hypothesis-seed`` and ``--hypothesis-profile`` work as always.

The pytest plugin registers those whose names are free (`register_defaults`): before ``--hypothesis-profile``
is followed, and before a file of tests is loaded that speaks of faultkit and Hypothesis.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.errors import InvalidArgument

__all__ = ["NAMES", "register", "register_defaults"]

NAMES = ("dev", "ci", "nightly")

_SUPPRESSED = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)


def register(prefix: str = "") -> tuple[str, ...]:
    """Register the profiles, under their names with `prefix` before them; returns the names.

    Loads none: ``hypothesis.settings.load_profile("dev")`` does, or ``--hypothesis-profile=dev``.  What was
    registered under one of the names before is replaced.
    """
    for name in NAMES:
        settings.register_profile(prefix + name, _made(name))
    return tuple(prefix + name for name in NAMES)


def register_defaults(chosen: str | None = None) -> tuple[str, ...]:
    """Register the profiles whose names nobody has given to another one; returns the names.

    Hypothesis has a profile ``ci`` of its own, which it loads by itself where it sees a CI service.  That one
    is replaced only where `chosen`, the profile about to be loaded, is ``ci``: else the number of examples of
    tests that have nothing to do with faultkit would change under them.
    """
    names = [name for name in NAMES if not _is_registered(name)]
    if chosen == "ci" and _is_hypothesis_own_ci():
        names.append("ci")
    for name in names:
        settings.register_profile(name, _made(name))
    return tuple(names)


def _made(name: str) -> settings:
    # said outright: where Hypothesis sees a CI service, its own default is to draw the same examples each time
    base = settings(deadline=None, derandomize=False, suppress_health_check=_SUPPRESSED, print_blob=True)
    match name:
        case "dev":
            return settings(base, max_examples=100)
        case "ci":
            return settings(base, max_examples=200, derandomize=True, database=None)
    return settings(base, max_examples=5_000)


def _is_registered(name: str) -> bool:
    try:
        settings.get_profile(name)
    except InvalidArgument:
        return False
    return True


def _is_hypothesis_own_ci() -> bool:
    """Whether ``ci`` says what Hypothesis documents of its own: the default profile, save for five values."""
    own = settings(
        settings.get_profile("default"),
        derandomize=True,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    return not _is_registered("ci") or repr(settings.get_profile("ci")) == repr(own)
