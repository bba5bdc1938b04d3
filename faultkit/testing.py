"""The whole contract of a checkpointer as tests of pytest, one for each promise.

    from faultkit import testing

    test_mine = testing.conformance(MINE, budget_seconds=60)

Guarantees: the battery (`faultkit.conformance.check`) runs once for all promises that a session tests, when the first
of them runs; each test then says what became of its promise.  A promise that the checkpointer does not make, or that
nothing tried, is skipped with the reason, never passed.  What breaks a promise is looked up by ``--faultkit-known``, as
that of any test.  Not covered: the order of tests, and workers of pytest-xdist,
each of which runs the battery once for the tests that it gets; ``--dist loadgroup`` gives one of them all.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["conformance"]


def conformance(
    checkpointer: Any,
    *,
    budget_seconds: float = 60.0,
    promises: Iterable[str] = (),
    known: Mapping[str, str] | None = None,
    **choices: Any,
) -> Callable[..., None]:
    """A test function with one case for each promise; assign it to a name that pytest collects.

    Args:
        checkpointer: a `faultkit.Checkpointer`, the name of one, or ``"module:attribute"``.
        budget_seconds: for all promises together; 0 for all there is to try.
        promises: globs over the promises that are wanted; () for all.
        known: promises that are known to be broken, each with the reason: these are expected to fail
            (``pytest.mark.xfail``, strict), so that one that is kept from some day on is told.
        choices: the other arguments of `faultkit.conformance.check`, such as `world` and `seed`.

    Raises:
        ValueError: no promise is meant, or `known` names one that there is not.
    """
    import pytest

    from faultkit.conformance.battery import chosen
    from faultkit.conformance.promises import PROMISES
    from faultkit.messages import listed, nearest, seen

    known = dict(known or {})
    for name in known:
        if name not in PROMISES:
            raise ValueError(
                f"conformance: known must name promises (got {seen(name)}); they are {listed(PROMISES)}"
                f"{nearest(name, PROMISES)}"
            )
    cards: list[Any] = []

    def test(promise: str, request: Any) -> None:
        if not cards:
            cards.append(_checked(checkpointer, budget_seconds, _wanted(request, test), choices))
        [result] = [one for one in cards[0].promises if one.promise == promise]
        if result.verdict in ("NOT_APPLICABLE", "NOT_TRIED"):
            pytest.skip(f"{promise}: {result.why_not or 'not tried in the time there was'}")
        if result.new:
            error = pytest.fail.Exception(_told(result), pytrace=False)
            error.__dict__["faultkit_found"] = _Found(tuple(broken.occurrence for broken in result.new))
            raise error

    marks = [pytest.mark.xdist_group(f"faultkit {checkpointer}")] if importlib.util.find_spec("xdist") else []
    cases = [
        pytest.param(
            name,
            id=name,
            marks=pytest.mark.xfail(reason=known[name], strict=True) if name in known else (),
        )
        for name in chosen(promises)
    ]
    made: Any = pytest.mark.parametrize("promise", cases)(test)
    for mark in marks:
        made = mark(made)
    return made


class _Found(NamedTuple):
    """What ``--faultkit-known`` looks up."""

    occurrences: tuple[Any, ...]


def _wanted(request: Any, test: Callable[..., None]) -> tuple[str, ...]:
    """The promises that this session tests by `test`."""
    items = [item for item in request.session.items if getattr(item, "function", None) is test]
    return tuple(dict.fromkeys(item.callspec.params["promise"] for item in items))


def _checked(checkpointer: Any, budget_seconds: float, promises: tuple[str, ...], choices: Any) -> Any:
    from faultkit.conformance import check

    return check(checkpointer, budget_seconds=budget_seconds, promises=promises, **choices)


def _told(result: Any) -> str:
    """What became of a broken promise: every violation with the command that brings it back, and one story."""
    lines = [f"{result.promise} is broken: {result.sentence}"]
    for broken in result.new:
        lines += ["", f"{broken.verdict} ({broken.check}): {broken.evidence}", f"  {broken.replay}"]
    story = next((broken.story for broken in result.new if broken.story), "")
    return "\n".join([*lines, *(["", story] if story else [])])
