"""Which places a scenario comes by on which ranks, from a run in which nothing goes wrong.

That run plans a delay of no length at every place of interest.  It injects nothing, but each place that a rank comes
by is recorded as fired.  Not covered: running it (`faultkit.sweep.baseline`).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import msgspec

from faultkit.plan import Fault, FaultPlan
from faultkit.plan.action_places import can_happen
from faultkit.plan.actions import Action
from faultkit.plan.points import default_error, find
from faultkit.sweep.selection import Place
from faultkit.worlds import Run

__all__ = [
    "WIDE_SIZE_MIN",
    "Reachability",
    "Target",
    "pairs_for",
    "plans_for",
    "reach_of",
    "representatives",
    "watching",
]

PAIRS_LOOKED_AT = 1_000  # of two places: on which ranks, and how
WIDE_SIZE_MIN = 65  # from here on breaking each place on each rank takes days


class Target(msgspec.Struct, frozen=True):
    """One place on one rank; `site` is the point with its files, as in a plan."""

    site: str
    moment: str
    rank: int


class Reachability(msgspec.Struct, frozen=True):
    """`cells` that were reached, places in the order asked for; `unreached` are those no rank came by."""

    cells: tuple[Target, ...]
    unreached: tuple[Place, ...]


def watching(places: tuple[Place, ...]) -> FaultPlan:
    """The plan that breaks nothing, and under which each of `places` that a rank comes by is recorded."""
    return FaultPlan(
        tuple(_fault(site, moment, Action("delay", (("seconds", 0),))) for site, moment in places)
    )


def reach_of(run: Run, places: tuple[Place, ...]) -> Reachability:
    """Which of `places` were reached in `run`, which was `watching` them."""
    ranks: dict[Place, set[int]] = {}
    for fired in run.fired:
        ranks.setdefault((fired.fault.site, fired.fault.moment), set()).add(fired.rank)
    cells = [Target(*place, rank) for place in places for rank in sorted(ranks.get(place, ()))]
    return Reachability(tuple(cells), tuple(place for place in places if place not in ranks))


def representatives(world_size: int) -> tuple[int, ...]:
    """The ranks that stand for all of a wide world: the coordinator, its neighbour, one in the middle, the last."""
    return tuple(sorted({0, 1, world_size // 2, world_size - 1}))


def plans_for(reach: Reachability, actions: tuple[Action, ...], calls: str = "1-") -> tuple[FaultPlan, ...]:
    """One plan with one fault for each reached cell and each action that can happen there: rows, then ranks.

    Without `actions` each point fails as it does by default.  `calls` are those at which it fails.
    """
    return tuple(
        FaultPlan((fault,)) for faults in _faults_by_place(reach, actions, calls) for fault in faults
    )


def pairs_for(reach: Reachability, actions: tuple[Action, ...], calls: str = "1-") -> tuple[FaultPlan, ...]:
    """Plans with two faults that cover all pairs: of places, and as far as these give room of ranks and of actions.

    Each two places of `reach` break together once.  On which ranks and how is chosen so that it has two of a place and
    a rank, a place and an action, two ranks or two actions that no plan before it had together, as many as there are.
    """
    places = list(_faults_by_place(reach, actions, calls))
    covered: set[frozenset[tuple[int, str, str]]] = set()
    plans = []
    for first, second in itertools.combinations(range(len(places)), 2):
        best: tuple[int, Fault, Fault] | None = None
        met: set[frozenset[tuple[int, str, str]]] = set()
        for one, other in itertools.islice(itertools.product(places[first], places[second]), PAIRS_LOOKED_AT):
            pairs = {frozenset(pair) for pair in itertools.product(_values(1, one), _values(2, other))}
            count = len(pairs - covered)
            if best is None or count > best[0]:
                best, met = (count, one, other), pairs
        if best is not None:
            covered |= met
            plans.append(FaultPlan(best[1:]))
    return tuple(plans)


def _values(side: int, fault: Fault) -> tuple[tuple[int, str, str], ...]:
    return (
        (side, "place", f"{fault.site}:{fault.moment}"),
        (side, "rank", fault.ranks),
        (side, "action", str(fault.action)),
    )


def _faults_by_place(reach: Reachability, actions: tuple[Action, ...], calls: str) -> Iterator[list[Fault]]:
    """For each reached place its faults: actions, then ranks; where there is none, nothing."""
    ranks: dict[Place, list[int]] = {}
    for cell in reach.cells:
        ranks.setdefault((cell.site, cell.moment), []).append(cell.rank)
    for (site, moment), here in ranks.items():
        faults = [
            _fault(site, moment, action, str(rank), calls)
            for action in actions or (_default_action(site),)
            if can_happen(find(_parsed(site).point), action, moment)
            for rank in here
        ]
        if faults:
            yield faults


@functools.lru_cache(maxsize=1024)
def _parsed(site: str) -> Fault:
    return Fault.parse(f"{site}=delay(0)")


def _fault(site: str, moment: str, action: Action, ranks: str = "*", calls: str = "1-") -> Fault:
    where = _parsed(site)
    return Fault(where.point, action, moment, ranks, calls, where.path, where.thread)


@functools.lru_cache(maxsize=1024)
def _default_action(site: str) -> Action:
    return Fault.parse(f"{site}={default_error(site)}").action
