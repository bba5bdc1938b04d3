"""Strategies of plans: `ranks`, `world_sizes`, `faults`, `fault_plans` and the short form `rank_failures`.

What is drawn can fire: a point that the engine calls on the coordinator alone is drawn for the coordinator
alone.  A fault can still be kept from firing by another of the same plan, which the check ``fired`` knows.
Faults of a plan stand in the order of the engine's calls.  Not covered: what the function under test never
reaches; with points other than the default, that is for the caller to choose.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
from hypothesis import reject

from faultkit.plan import Fault, FaultPlan, PlanError
from faultkit.plan.actions import Action
from faultkit.plan.file_filters import ANY
from faultkit.plan.grammar import read_action
from faultkit.plan.points import OPERATIONS, Point, default_error
from faultkit.plan.spans import CALL_MAX
from faultkit.strategies.arguments import (
    WORLD_SIZE_MAX,
    about,
    checked_choices,
    checked_range,
    checked_size,
    described,
)
from faultkit.strategies.errors import ONE_ERROR, drawn_action
from faultkit.strategies.files import Files, file_actions
from faultkit.strategies.sites import Site, sites_of
from faultkit.strategies.swarm import SWARM, Choices

__all__ = ["fault_plans", "faults", "rank_failures", "ranks", "world_sizes"]

FAULTS_MAX = 1_000
FAULTS_KEPT_MAX = 4_096
_Actions = st.SearchStrategy[Any] | Iterable[Action | str] | Action | str | None
_Points = Iterable[str | Point] | str | Point | None


@described
def world_sizes(*, min_size: int = 1, max_size: int = 4) -> st.SearchStrategy[int]:
    """Draws numbers of ranks, `min_size` first."""
    low, high = checked_range("min_size", min_size, "max_size", max_size, 1, WORLD_SIZE_MAX)
    return st.integers(low, high)


@described
def ranks(
    world_size: int, *, min_size: int = 1, max_size: int | None = None
) -> st.SearchStrategy[tuple[int, ...]]:
    """Draws sets of ranks of a world of `world_size`, as ascending tuples: fewest first, then lowest."""
    size = checked_size("world_size", world_size)
    low, high = checked_range("min_size", min_size, "max_size", max_size, 0, size)
    return _ranks(size, low, high)


@described
def faults(
    world_size: int,
    *,
    op: str = "save",
    points: _Points = None,
    moments: str | Iterable[str] | None = None,
    actions: _Actions = None,
    max_ranks: int | None = None,
    max_call: int | None = None,
    coordinator: int | None = 0,
    paths: str | Iterable[str] = ANY,
    threads: str | Iterable[str] = ANY,
) -> st.SearchStrategy[Fault]:
    """Draws faults of a world of `world_size` ranks.

    Args:
        world_size: ranks of the world.
        op: as for `fault_plans`, like all that follow.
        points: where.
        moments: when.
        actions: what happens.
        max_ranks: of one fault.
        max_call: the last call at which a fault may happen; None for every call.
        coordinator: the coordinator's rank, or None.
        paths: globs of files.
        threads: roles of threads.

    Raises:
        InvalidArgument: an argument is no such value.
    """
    files = Files(paths, threads)
    return _Drawn(world_size, op, points, moments, actions, max_ranks, max_call, coordinator, files).faults()


@described
def fault_plans(
    world_size: int,
    *,
    op: str = "save",
    points: _Points = None,
    moments: str | Iterable[str] | None = None,
    actions: _Actions = None,
    min_faults: int = 1,
    max_faults: int = 3,
    max_ranks: int | None = None,
    max_call: int | None = None,
    coordinator: int | None = 0,
    paths: str | Iterable[str] = ANY,
    threads: str | Iterable[str] = ANY,
) -> st.SearchStrategy[FaultPlan]:
    """Draws plans for a world of `world_size` ranks.

    Args:
        world_size: ranks of the world.
        op: ``"save"`` or ``"load"``: in which order the engine comes by the points, and what the default of `points`
            is, the storage points whose failure it promises to report to every rank.
        points: ``"layer.name"``, bare names of storage points, or patterns (``"planner.*"``), each with a
            ``":moment"`` or without.
        moments: to draw at points that name none; all of the point by default.
        actions: a strategy such as `exceptions()`, or actions and texts of the grammar, simplest first; by default
            errors of the families plain and errno, and at points of layer ``fs`` errors of the system, then what else
            can happen to a file there (`faultkit.strategies.files`).
        min_faults: the fewest faults of a plan.
        max_faults: the most faults of a plan.
        max_ranks: a fault names at most so many ranks.
        max_call: a fault happens at one call of the point, from 1 to this; None for every call.
        coordinator: the coordinator's rank; None draws points that only it calls on any rank.
        paths: globs of files, simplest first, for points of layer ``fs`` that do not say it themselves, as
            ``'fs.write("*.distcp", helper)'`` does.
        threads: ``"main"``, ``"helper"``, ``"*"`` for any, simplest first, for the same points.

    Raises:
        InvalidArgument: an argument is no such value.
    """
    files = Files(paths, threads)
    drawn = _Drawn(world_size, op, points, moments, actions, max_ranks, max_call, coordinator, files)
    low, high = checked_range("min_faults", min_faults, "max_faults", max_faults, 0, FAULTS_MAX)
    return drawn.plans(low, high)


@described
def rank_failures(
    world_size: int,
    *,
    op: str = "save",
    points: _Points = None,
    exceptions: _Actions = ONE_ERROR,
    max_points: int = 3,
    max_ranks: int | None = None,
    coordinator: int | None = 0,
) -> st.SearchStrategy[FaultPlan]:
    """Draws which ranks fail at which points, the plans of ``FaultPlan.failing``.

    A point is failed before the call, or in its future, with ValueError, at points of layer ``fs`` with an OSError.

    Args:
        world_size: ranks of the world.
        op: ``"save"`` or ``"load"``: in which order the engine comes by the points, and what the default of `points`
            is, the storage points whose failure it promises to report to every rank.
        points: ``"layer.name"``, bare names of storage points, or patterns (``"planner.*"``), each with a
            ``":moment"`` or without.
        exceptions: other raise actions, or a strategy of them.
        max_points: at most so many points fail.
        max_ranks: each on at most so many ranks.
        coordinator: the coordinator's rank, or None.

    Raises:
        InvalidArgument: an argument is no such value.
    """
    with about("exceptions", of="actions"):
        drawn = _Drawn(world_size, op, points, ("before", "future"), exceptions, max_ranks, None, coordinator)
    return drawn.plans(1, checked_size("max_points", max_points, 1, FAULTS_MAX))


class _Drawn:
    """The arguments that the strategies share, checked."""

    def __init__(
        self,
        world_size: int,
        op: str,
        points: _Points,
        moments: str | Iterable[str] | None,
        actions: _Actions,
        max_ranks: int | None,
        max_call: int | None,
        coordinator: int | None,
        files: Files | None = None,
    ) -> None:
        self.files = files or Files(ANY, ANY)
        self.is_default = actions is None
        self.is_one_error = actions is ONE_ERROR
        self.world_size = checked_size("world_size", world_size)
        [self.op] = checked_choices("op", [op], OPERATIONS)
        self.coordinator = coordinator
        if coordinator is not None:
            checked_size("coordinator", coordinator, 0, self.world_size - 1)
        self.sites = sites_of(points, moments, self.op)
        self.actions = drawn_action(actions)
        every = self.world_size
        self.max_ranks = every if max_ranks is None else checked_size("max_ranks", max_ranks, 1, every)
        self.max_call = max_call
        if max_call is not None:
            checked_size("max_call", max_call, 1, CALL_MAX)
        self.everywhere = any(map(self.on_any_rank, self.sites))

    def on_any_rank(self, site: Site) -> bool:
        return self.coordinator is None or not site.coordinator_only

    def faults(self) -> st.SearchStrategy[Fault]:
        return self._placed().map(_fault_of)

    def plans(self, low: int, high: int) -> st.SearchStrategy[FaultPlan]:
        listed = st.lists(self._placed(), min_size=low, max_size=high, unique_by=_fault_of)

        @st.composite
        def drawing(draw: Any) -> FaultPlan:
            # The swarm first: between two faults nothing may stand that shrinking cannot drop to make them one.
            draw(SWARM)
            return _plan_of(draw(listed))

        return drawing()

    def _placed(self) -> st.SearchStrategy[tuple[int, Fault]]:
        """A fault with the place of its site, drawn in the order in which shrinking shall care."""
        listed = _listed_ranks(self.world_size, 1, self.max_ranks)
        sites = Choices(
            tuple(enumerate(self.sites)),
            lambda one: one[1].families,
            lambda one, alone: alone or self.on_any_rank(one[1]),
        )
        call = st.integers(1, self.max_call) if self.max_call is not None else None
        only = self.actions if isinstance(self.actions, Action) else None  # no draw costs least
        made: dict[Any, Fault] = {}  # what a fault is made of is checked once, not for each example

        @st.composite
        def drawing(draw: Any) -> tuple[int, Fault]:
            # where every site is the coordinator's alone, so are all faults
            hit = _ascending(draw(listed)) if self.everywhere else (self.coordinator,)
            place, site = sites.drawn(draw, hit == (self.coordinator,))
            path, thread = self.files.drawn(draw, site)
            if self.is_default and site.point.startswith("fs."):
                action = draw(file_actions(site.point, site.moment))
            elif self.is_one_error and site.point.startswith("fs."):
                action = read_action(default_error(site.point))
            else:
                action = only if only is not None else draw(self.actions)
            calls: Any = "1-" if call is None else draw(call)
            parts = (place, action, hit, calls, path, thread)
            fault = made.get(parts)
            if fault is None:
                try:
                    fault = Fault(site.point, action, site.moment, hit, calls, path, thread)  # type: ignore[arg-type]
                except PlanError:  # an action that cannot happen at this point
                    reject()
                if len(made) < FAULTS_KEPT_MAX:
                    made[parts] = fault
            return place, fault

        return drawing()


def _fault_of(placed: tuple[int, Fault]) -> Fault:
    return placed[1]


def _place_of(placed: tuple[int, Fault]) -> int:
    # Nothing more: an order by ranks would let the removal of one rank change which fault comes first.
    return placed[0]


def _plan_of(drawn: list[tuple[int, Fault]]) -> FaultPlan:
    return FaultPlan(tuple(map(_fault_of, sorted(drawn, key=_place_of))))


def _ranks(world_size: int, low: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
    return _listed_ranks(world_size, low, high).map(_ascending)


def _ascending(ranks: list[int]) -> tuple[int, ...]:
    return tuple(sorted(set(ranks)))


def _listed_ranks(world_size: int, low: int, high: int) -> st.SearchStrategy[list[int]]:
    numbers = st.integers(0, world_size - 1)
    # Hypothesis draws the elements of a unique list of integers as places among those that are left.  Then
    # taking one away changes the others, and {0, 1} does not shrink to {1}.  So where few are needed, the
    # list may hold a rank twice, which costs least; or it is one of mapped integers, which are drawn as such.
    if low <= 1:
        return st.lists(numbers, min_size=low, max_size=high)
    if 2 * low <= world_size + 1:
        return st.lists(numbers.map(int), min_size=low, max_size=high, unique=True)
    return st.lists(numbers, min_size=low, max_size=high, unique=True)
