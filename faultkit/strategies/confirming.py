"""A failed example is run again on new ranks before it counts: `confirm`.

A warm world survives from example to example, and is replaced where it can be seen to be damaged.  If what an
example reports came from what an earlier one left behind all the same, a world of fresh ranks does not show
it.  Such a disagreement is an error of its own, told with both stories; it is never taken for a success.  The
pytest plugin does the same, for the whole test, with every failed example of a ``@given`` test that uses it.
Not covered: an example that fails only now and then on fresh ranks, too; Hypothesis calls that flaky.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faultkit.runs.run import Run
from faultkit.worlds import World

__all__ = ["confirm", "disagreement"]


def confirm(world: World, run: Run, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Run:
    """See a failure twice before it counts.

    Args:
        world: where `run` was made.
        run: the run of ``fn(*args, **kwargs)`` in it.
        fn: what was run.
        *args: its arguments.
        **kwargs: further arguments.

    Returns:
        `run`, if every check holds.

    Raises:
        AssertionError: after the same plan was run once more on fresh ranks: with the story of the second run where it
            has the same verdict, with both stories where it has another one.
    """
    if not run.violations:
        return run
    with world.afresh(timeout=run.timeout_seconds) as fresh:
        how = {"may_not_fire": run.may_not_fire, **run.chosen.options, **kwargs}
        again = fresh.run(fn, *args, plan=run.plan, **how)
    if again.verdict == run.verdict:
        raise AssertionError(again.story())
    raise AssertionError(disagreement(run, again))


def disagreement(run: Run, again: Run) -> str:
    """What to say where `run` came to another verdict than `again`, the same on fresh ranks."""
    return (
        f"the worlds disagree: {run.verdict} on {run.kind} ranks, {again.verdict} on fresh ones, for "
        f"{str(run.plan)!r}; an earlier run left something behind, or the outcome is a matter of chance"
        f"\n\n{run.story()}\n\nthe same plan on fresh ranks\n\n{again.story()}"
    )
