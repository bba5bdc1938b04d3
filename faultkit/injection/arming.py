"""Arming: make one process follow a plan, and leave it as it was.

Guarantees: while `arm` is entered the plan's faults strike, and what the engine does is recorded; on exit all that was
installed is gone, also after an exception, and every timer is cancelled.  A plan that could not be carried out is
refused before anything is installed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from faultkit.injection import collective_calls, expectations, parts, rank_context
from faultkit.injection.engine import hooks
from faultkit.injection.perform import prepare, put_back
from faultkit.injection.rank_context import Timer
from faultkit.injection.session import Match, Record, Session
from faultkit.injection.session_parts.armed import activate, deactivate
from faultkit.interception.patches import Patches
from faultkit.plan import FaultPlan

if TYPE_CHECKING:
    from faultkit.processes.memory import RankMemory

__all__ = ["arm", "arm_child", "install_hooks", "set_alarms"]


@contextlib.contextmanager
def arm(
    plan: FaultPlan | str | None,
    *,
    rank: int,
    world_size: int,
    record: Record | None,
    memory: memoryview | None = None,
    children: RankMemory | None = None,
    place: str = "",
    watches: frozenset[str] = frozenset(),
) -> Iterator[Session]:
    """Make this process follow `plan` as `rank` of `world_size` ranks until the block is left.

    Args:
        plan: a `FaultPlan` or its text; None for the empty one.
        rank: whose faults it meets.
        world_size: ranks of the world.
        record: called with the kind and the data of every event the moment it happens (see
            `faultkit.runs.outcomes.Event`); None drops them.
        memory: where the process is a rank, what native code writes to (`faultkit.injection.files.native`).
        children: where the processes that it starts record what strikes in them (`faultkit.injection.children`).
        place: the directory of the checkpoint: faults on real files that name no path strike beneath it alone.
        watches: checks for which more is recorded, of `faultkit.runs.selection.RECORDED`.

    Raises:
        PlanError: the plan names a rank beyond the world.
        ValueError: an exception of the plan cannot be imported or built.
        RuntimeError: the process is armed already.
    """
    if plan is None or isinstance(plan, str):
        plan = FaultPlan.parse(plan or "")
    plan.validate_ranks_for(world_size)
    for fault in plan:
        prepare(fault.action, str(fault))
    session = Session(plan, rank=rank, world_size=world_size, record=record)
    session.memory, session.children = memory, children
    session.place, session.watches = place, watches
    activate(session)
    patches = Patches()
    alarms: list[Timer] = []
    try:
        install_hooks(session, patches)
        alarms += set_alarms(session)
        yield session
    finally:
        session.closed = True
        for alarm in alarms:
            alarm.cancel()
        try:
            patches.undo()
        finally:
            put_back()
            deactivate()


def install_hooks(session: Session, patches: Patches) -> None:
    """Have `session` asked wherever its faults can strike, until `patches` is undone."""
    needed = parts.load(session.plan)
    if parts.CHILDREN in needed:
        from faultkit.injection import children

        children.install(session, patches, arm_child)
    hooks.install(session, patches)
    expectations.install(session, patches)
    if parts.FILES in needed:
        from faultkit.injection.files import raw

        raw.install(session, patches)
    if parts.FUNCTION_CALLS in needed:
        from faultkit.injection import functions

        functions.install(session, patches)
    if "parity" in session.watches:
        collective_calls.install(session, patches)
    if parts.REQUESTS in needed:
        from faultkit.injection import requests

        requests.install(session, patches)


def arm_child(
    plan: FaultPlan,
    rank: int,
    world_size: int,
    coordinator: int,
    place: str,
    descriptor: Any,
    run_number: int,
) -> None:
    """In a process that a rank started, and that begins anew: follow the plan as a child of `rank`, until it ends."""
    from faultkit.injection import children

    session = Session(plan, rank=rank, world_size=world_size)
    session.coordinator, session.place = coordinator, place
    children.begun(session, descriptor, run_number)
    activate(session)
    install_hooks(session, Patches())


def set_alarms(session: Session) -> list[Timer]:
    """Start a timer of the calling rank for each fault at a time."""
    alarms = []
    for index, fault in enumerate(session.plan):
        if fault.layer == "clock" and session.matches_rank(index, fault):
            milliseconds = int(fault.calls)
            ring = functools.partial(_ring, session, (index, fault, fault.point, milliseconds))
            alarms.append(rank_context.context().start_timer(milliseconds / 1000, ring))
    return alarms


def _ring(session: Session, match: Match) -> None:
    if not session.closed and not session.disarmed:
        session.fire(match, session.threads.step)
