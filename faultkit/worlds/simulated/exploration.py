"""Every schedule of a small case: walks the tree of decisions, leaving out orders that cannot matter.

Each run follows a prefix of decisions and then takes the first way; every other way at each of its decisions is a run
still to be made.  Sleep sets (Godefroid, Partial-Order Methods for the Verification of Concurrent Systems, 1996) leave
out a way whose order with what happened since makes no difference (`faultkit.worlds.simulated.core.independence`), so
of all equivalent schedules one is run.

Guarantees: `Exploration.is_complete` is true only if every schedule was run or is equivalent to one that was, in the
sense of that module.  Not covered: the values that a program draws or is given, and what it does to variables that
ranks share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.plan import FaultPlan
from faultkit.worlds.simulated.messages import Schedule

if TYPE_CHECKING:
    from faultkit.runs.run import Run
    from faultkit.worlds.world import World

__all__ = ["Exploration", "explore", "walk"]


class Exploration(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen.

    `covered` counts schedules that were run to their end and differ; `redundant` runs that turned out to be equivalent
    to an earlier one; `pruned` the ways that were left out without a run.  `is_complete` tells that no way is left;
    `left` how many were when the bound was reached.  `verdicts` counts the covered runs by verdict, `examples`
    holds the first run of each.
    """

    covered: int
    redundant: int
    pruned: int
    left: int
    is_complete: bool
    verdicts: dict[str, int]
    examples: dict[str, Any]

    @property
    def worst(self) -> Run:
        """The run with the worst verdict."""
        run: Run = min(self.examples.values(), key=lambda run: run.verdict.severity)
        return run

    def __str__(self) -> str:
        verdicts = ", ".join(f"{count} {name}" for name, count in self.verdicts.items())
        end = "complete" if self.is_complete else f"not complete, {self.left} ways left"
        return f"{self.covered} schedules ({verdicts}), {self.pruned} equivalent ones left out: {end}"


def explore(
    world: World,
    fn: Callable[..., Any],
    *args: Any,
    plan: FaultPlan | str | None = None,
    bound: int = 1000,
    before: Callable[[], Any] | None = None,
    until: Callable[[Run], bool] | None = None,
    **kwargs: Any,
) -> Exploration:
    """Run every schedule of `fn` on simulated ranks.

    Args:
        world: of kind ``"simulated"``.
        fn: the function, as `World.run` takes it.
        *args: its arguments.
        plan: what breaks.
        bound: at most so many runs.
        before: called before each run; it puts back what the function finds.
        until: ends the search at the first run for which it is true.
        **kwargs: further arguments of `fn`.

    Returns:
        How many schedules there were, and the runs by verdict.

    Raises:
        ValueError: the world is of another kind, or the bound is below 1; and what `World.run` raises.
    """
    if not world.is_simulated:
        raise ValueError(f"explore: the world must be of kind 'simulated' (got {world!r})")
    if isinstance(bound, bool) or not isinstance(bound, int) or bound < 1:
        raise ValueError(f"explore: bound must be a number of runs from 1 (got {bound!r})")
    for name, function in (("before", before), ("until", until)):
        if function is not None and not callable(function):
            raise ValueError(f"explore: {name} must be a function (got {function!r})")
    if "schedule" in kwargs:
        raise ValueError("explore: it is the search that gives each run its schedule")

    def run_once(schedule: Schedule) -> Run:
        if before is not None:
            before()
        return world.run(fn, *args, plan=plan, schedule=schedule, **kwargs)

    return walk(run_once, bound, until)


def walk(
    run_once: Callable[[Schedule], Run], bound: int, until: Callable[[Run], bool] | None = None
) -> Exploration:
    """The same for what `run_once` runs, always alike save for the schedule that it is given."""
    waiting = [Schedule()]
    covered = redundant = pruned = 0
    verdicts: dict[str, int] = {}
    examples: dict[str, Any] = {}
    found = False
    while waiting and covered + redundant < bound and not found:
        schedule = waiting.pop()
        run = run_once(schedule)
        assert run.simulation is not None
        decisions = run.simulation.decisions
        for place in range(len(schedule.choices), len(decisions)):
            decision = decisions[place]
            if decision.is_vain:
                break
            if decision.is_private:
                continue
            chosen = tuple(one.chosen for one in decisions[:place])
            asleep = {number: decision.operations[decision.ready.index(number)] for number in decision.asleep}
            pruned += len(asleep)
            asleep[decision.chosen] = decision.operations[decision.ready.index(decision.chosen)]
            for number, operation in zip(decision.ready, decision.operations, strict=True):
                if number not in asleep:
                    waiting.append(Schedule((*chosen, number), tuple(sorted(asleep.items()))))
                    asleep[number] = operation
        if any(decision.is_vain for decision in decisions):
            redundant += 1
            continue
        covered += 1
        name = run.verdict.value
        verdicts[name] = verdicts.get(name, 0) + 1
        examples.setdefault(name, run)
        found = until is not None and until(run)
    return Exploration(
        covered=covered,
        redundant=redundant,
        pruned=pruned,
        left=len(waiting),
        is_complete=not waiting and not found,
        verdicts=verdicts,
        examples=examples,
    )
