"""Who looks on: `observe_runs` hands every run of every world of this process to a function when it is over.

For tools around a test, which must know the runs of worlds that they did not make.  What is no run is only counted:
`counted` hears of each history that was lived and of the states of each exploration, with their verdicts.  Not covered:
runs of other processes, and runs that could not be made at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from faultkit.runs.run import Run
    from faultkit.worlds.world import World

__all__ = ["CRASH_STATES", "HISTORIES", "ObservedRun", "count", "counted", "notify", "observe_runs"]

HISTORIES, CRASH_STATES = "histories", "crash states"


class ObservedRun(NamedTuple):
    """One run with what was run: ``world.run(function, *args, **kwargs)`` came to `run`."""

    world: World
    run: Run
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


_witnesses: list[Callable[[ObservedRun], None]] = []


@contextlib.contextmanager
def observe_runs(see: Callable[[ObservedRun], None]) -> Iterator[None]:
    """Meanwhile, call `see` with every run that ends, on the thread of the run.  It must start no run."""
    _witnesses.append(see)
    try:
        yield
    finally:
        _witnesses.remove(see)


def notify(
    world: World, run: Run, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """A run is over.  Runs that the harness itself makes, to read back what was stored, are not told."""
    if getattr(function, "__module__", "") in (
        "faultkit.worlds.checkpoint_loader",
        "faultkit.worlds.readback",
    ):
        return
    for see in tuple(_witnesses):
        see(ObservedRun(world, run, function, args, kwargs))


_counters: list[Callable[[str, str, int], None]] = []


@contextlib.contextmanager
def counted(hear: Callable[[str, str, int], None]) -> Iterator[None]:
    """Meanwhile, call `hear` with what was judged (`HISTORIES`, `CRASH_STATES`), its verdict, and how many."""
    _counters.append(hear)
    try:
        yield
    finally:
        _counters.remove(hear)


def count(what: str, verdict: str, number: int = 1) -> None:
    """So many of these have come to `verdict`."""
    for hear in tuple(_counters):
        hear(what, verdict, number)
