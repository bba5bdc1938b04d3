"""Does the same run come out the same?  Runs it twice and finds the first difference, bit for bit.

What is compared: every event of every rank with its time on the simulated clock, what became of each rank, what it
printed, and how often the scheduler was asked.  What makes a difference: state that the function keeps from one
call to the next, files that it finds, the machine's clock or generator read past Python, and threads that are not
simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.plan import FaultPlan

if TYPE_CHECKING:
    from faultkit.runs.outcomes import Event
    from faultkit.runs.run import Run
    from faultkit.worlds.world import World

__all__ = ["Comparison", "compare", "first_difference"]


class Comparison(msgspec.Struct, frozen=True):
    """Two runs of the same; `difference` tells where they part, None where they are the same."""

    first: Any
    second: Any
    difference: str | None


def compare(
    world: World,
    fn: Callable[..., Any],
    *args: Any,
    plan: FaultPlan | str | None = None,
    seed: int | None = None,
    before: Callable[[], Any] | None = None,
    **kwargs: Any,
) -> Comparison:
    """Run the same twice on simulated ranks, and find the first difference.

    Args:
        world: of kind ``"simulated"``.
        fn: the function, as `World.run` takes it.
        *args: its arguments.
        plan: what breaks.
        seed: in the place of the world's.
        before: called before each run; it puts back what the function finds.
        **kwargs: further arguments of `fn`.

    Returns:
        Both runs, and where they differ.

    Raises:
        ValueError: the world is of another kind; and what `World.run` raises.
    """
    if not world.is_simulated:
        raise ValueError(f"compare: the world must be of kind 'simulated' (got {world!r})")
    runs = []
    for _ in range(2):
        if before is not None:
            before()
        runs.append(world.run(fn, *args, plan=plan, seed=seed, **kwargs))
    return Comparison(runs[0], runs[1], first_difference(runs[0], runs[1]))


def first_difference(first: Run, second: Run) -> str | None:
    """Where two runs part: the first event that differs, else an outcome, an output or the number of steps."""
    events = first.events, second.events
    for place, (one, other) in enumerate(zip(*events, strict=False)):
        if one != other:
            return f"event {place}: {_told(one)}, then {_told(other)}"
    if len(events[0]) != len(events[1]):
        more = max(events, key=len)[min(map(len, events))]
        return f"event {min(map(len, events))}: {_told(more)} in one run, none in the other"
    for what in ("outcomes", "output", "attempts_after"):
        one, other = getattr(first, what), getattr(second, what)
        for rank in sorted({*one, *other}):
            if repr(one.get(rank)) != repr(other.get(rank)):
                return f"{what} of rank {rank}: {one.get(rank)!r}, then {other.get(rank)!r}"
    if first.simulation is not None and second.simulation is not None:
        pair = first.simulation, second.simulation
        for what in ("steps", "switches", "seconds"):
            if getattr(pair[0], what) != getattr(pair[1], what):
                return f"{what}: {getattr(pair[0], what)}, then {getattr(pair[1], what)}"
    return None


def _told(event: Event) -> str:
    return f"{event.kind} of rank {event.rank} at {event.seconds:.9f} s {event.data!r}"
