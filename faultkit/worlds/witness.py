"""Who looks on: `witnessed` hands every run of every world of this process to a function when it is over.

For tools around a test, which must know the runs of worlds that they did not make.  Left out: runs of other
processes, and runs that could not be made at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from faultkit.worlds.run import Run
    from faultkit.worlds.world import World

__all__ = ["Witnessed", "tell", "witnessed"]


class Witnessed(NamedTuple):
    """One run with what was run: ``world.run(function, *args, **kwargs)`` came to `run`."""

    world: World
    run: Run
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


_witnesses: list[Callable[[Witnessed], None]] = []


@contextlib.contextmanager
def witnessed(see: Callable[[Witnessed], None]) -> Iterator[None]:
    """Meanwhile, call `see` with every run that ends, on the thread of the run.  It must start no run."""
    _witnesses.append(see)
    try:
        yield
    finally:
        _witnesses.remove(see)


def tell(
    world: World, run: Run, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """A run is over.  Runs that the harness itself makes, to read back what was stored, are not told."""
    if getattr(function, "__module__", "") in ("faultkit.worlds.reading", "faultkit.worlds.readback"):
        return
    for see in tuple(_witnesses):
        see(Witnessed(world, run, function, args, kwargs))
