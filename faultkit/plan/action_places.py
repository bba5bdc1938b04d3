"""Where an action can happen: which actions a point can have, and which points an action that replaces a call.

Guarantees: what takes the place of a call stands at points where there is such a call, at the moment ``before`` alone;
a point in time has what happens to the whole process.  Not covered: whether a run comes by the point.
"""

from __future__ import annotations

from faultkit.exceptions import PlanError
from faultkit.messages import listed, nearest
from faultkit.plan.action_catalogue import ACTIONS
from faultkit.plan.actions import Action
from faultkit.plan.file_filters import ANY, CHILD
from faultkit.plan.points import HTTP, Point

__all__ = ["actions_at", "can_happen", "require_actionable"]


def actions_at(point: Point) -> tuple[str, ...]:
    """The names of the actions that can happen at `point`."""
    if point.layer == "clock":
        return tuple(sorted(name for name, spec in ACTIONS.items() if spec.family in ("death", "stop")))
    if point.layer == HTTP:
        return tuple(
            name
            for name, spec in ACTIONS.items()
            if spec.family in ("time", "stop", "death") or HTTP in spec.layers
        )
    on_files = point.layer == "fs"
    return tuple(
        name
        for name, spec in ACTIONS.items()
        if (not spec.replaces and not spec.layers)
        or (on_files and point.name in spec.points)
        or (not spec.points and not spec.layers and _gives_value(point))
    )


def _gives_value(point: Point) -> bool:
    """Whether what a call gives there can be another: of files their data are (`ActionSpec.points`)."""
    return point.gives and point.layer not in ("fs", HTTP, "clock")


def can_happen(point: Point, action: Action, moment: str) -> bool:
    """Whether `action` makes sense at `point` and `moment`: what takes the place of a call, in its place alone."""
    if action.spec.moments and moment not in action.spec.moments:
        return False
    if (point.layer == HTTP or action.spec.layers) and action.name not in actions_at(point):
        return False
    return not action.replaces_call or (moment == "before" and action.name in actions_at(point))


def require_actionable(
    point: Point, action: Action, calls: str, moment: str = "before", thread: str = ANY
) -> None:
    """Raises PlanError where `action` makes no sense at `point`, for the calls in their canonical text.

    At a point in time no call of the rank is under way that could raise or wait, so only what happens to the
    whole process can happen there, and only at one time.  What happens to a file can happen where files are.
    """
    layers = action.spec.layers
    if layers and point.layer not in layers:
        raise PlanError(
            f"action {action.name!r} cannot happen at '{point}'; it can at points of layer "
            f"{listed(map(repr, layers))}, such as 'http.put'"
        )
    if point.layer == HTTP and action.name not in actions_at(point):
        raise PlanError(
            f"action {action.name!r} cannot happen at '{point}', which is a request; actions of '{point}' are "
            f"{listed(actions_at(point))}"
        )
    if action.spec.moments and moment not in action.spec.moments:
        raise PlanError(
            f"action {action.name!r} changes what is answered, so its only moment is "
            f"{listed(map(repr, action.spec.moments))} (got {moment!r})"
        )
    if action.replaces_call:
        _require_place(point, action, moment)
    obstacle = action.in_child if thread == CHILD else None
    if obstacle is not None:
        raise PlanError(
            f"action {str(action)!r} cannot happen to a child process: {obstacle.reason}; nearest is {obstacle.nearest}"
        )
    if point.layer != "clock":
        return
    if action.family not in ("death", "stop") or action.holds == "thread":
        names = (f"{name}(native)" if ACTIONS[name].holds == "thread" else name for name in actions_at(point))
        raise PlanError(
            f"action {str(action)!r} needs a call to happen in, and '{point}' is a time; actions of '{point}' are "
            f"{', '.join(names)}"
        )
    if not calls.isdigit():
        raise PlanError(
            f"'{point}' needs one time in milliseconds, such as '{point}#250' (got the calls {calls!r})"
        )


def _require_place(point: Point, action: Action, moment: str) -> None:
    names = action.spec.points
    if not names and not _gives_value(point):
        why = (
            "the data of files are changed by flip, zero, cut ..."
            if point.layer == "fs"
            else "it gives nothing"
        )
        raise PlanError(
            f"action {action.name!r} cannot happen at '{point}', where {why}; it can where a call gives a value, "
            "such as 'planner.create_local_plan'"
        )
    if names and (point.layer != "fs" or point.name not in names):
        at = listed(f"fs.{name}" for name in names)
        special = [name for name in actions_at(point) if ACTIONS[name].points] if point.layer == "fs" else []
        here = f"; actions of '{point}' are raise, delay, kill, {listed(special)} ..." if special else ""
        hint = (
            nearest(f"fs.{point.name}", (f"fs.{name}" for name in names))
            or f"; did you mean 'fs.{names[0]}'?"
        )
        raise PlanError(f"action {action.name!r} cannot happen at '{point}'; it can at {at}{here}{hint}")
    if moment != "before":
        raise PlanError(
            f"action {action.name!r} takes the place of the call, so its only moment is 'before' (got {moment!r})"
        )
