"""What a sweep breaks and how: globs over injection points and actions, resolved to values.

    points    'writer.*'   'writer.write_data:after'   '*'      a moment behind ':' is a glob, too
              'fs.*("*.distcp")'   'fs.write(helper)'           files and threads, as in a plan
              'writer.*(child)'                                 in processes that ranks start
              'call.mypkg.storage:Plugin.write'         a function by its name is no glob
    actions   'raise*'     '*'                                  over the standard actions, those of files and of values
              'raise(TimeoutError)'                             any action, written in full
              none                                              the error of each point: `points.default_error`

Layer ``storage`` repeats writer and reader, so only a glob that begins with its name means it, and so it is with
``http``, which needs a server; layer
``clock`` holds times, which are no places that a scenario comes by, so that its faults need plans of their
own.  Raises PlanError for a glob that matches nothing, with the nearest word.  Not covered: which points a
scenario reaches.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

from faultkit.exceptions import PlanError
from faultkit.messages import listed, nearest, seen
from faultkit.plan import Fault
from faultkit.plan.actions import Action
from faultkit.plan.file_filters import CHILD
from faultkit.plan.grammar import read_action
from faultkit.plan.named_points import CALL
from faultkit.plan.points import HTTP, MOMENTS, Point, catalogue, find

__all__ = [
    "DEFAULT_MOMENTS",
    "FILE_ACTIONS",
    "REQUEST_ACTIONS",
    "STANDARD_ACTIONS",
    "VALUE_ACTIONS",
    "choose_actions",
    "choose_places",
]

Place = tuple[str, str]  # (point with its files, as in a plan, and moment)

STANDARD_ACTIONS = (
    "raise(ValueError)",
    "raise(OSError, EIO)",
    "raise(OSError, ENOSPC)",
    "raise(KeyboardInterrupt)",
    "memory",
    "delay(0.05)",
    "hang",
    "hang(native)",
    "stop",
    "exit(1)",
    "kill(SIGKILL)",
    "terminate(0.5)",
    "segfault",
)
FILE_ACTIONS = ("full(1000)", "short", "torn", "lie", "flip", "zero", "cut", "stale", "missing")
VALUE_ACTIONS = (
    "shorten",
    "returns(None)",
    "earlier",
    "swap",
    "swap(names)",
    "swap(offsets)",
    "swap(sizes)",
)
REQUEST_ACTIONS = ("status(503)", "status(404)", "reset", "sever")
DEFAULT_MOMENTS = ("before", "future")


def choose_places(globs: Iterable[str], moments: Iterable[str] = DEFAULT_MOMENTS) -> tuple[Place, ...]:
    """The points and moments that the globs match, in the order of the catalogue; `moments` are globs, too.

    A glob without a moment stands for those of `moments` that a point has.  Files and threads in brackets behind a
    glob are those of each point that it matches.
    """
    globs, moments = _texts(globs), _texts(moments)
    for moment in moments:
        _matching_moments(moment)
    chosen: set[Place] = set()
    for text in globs:
        point_glob, files, colon, moment_glob = _parts(text)
        wanted = (
            _matching_moments(moment_glob) if colon else [m for g in moments for m in _matching_moments(g)]
        )
        of_storage, of_requests = point_glob.startswith("storage"), point_glob.startswith(HTTP)
        points = (
            [find(point_glob)]
            if point_glob.startswith(f"{CALL}.")
            else [
                point
                for point in catalogue()
                if fnmatch.fnmatchcase(str(point), point_glob)
                and point.layer != "clock"
                and (of_storage or point.layer != "storage")
                and (of_requests or point.layer != HTTP)
                and (not files or files == f"({CHILD})" or point.takes_path or "*" not in point_glob)
            ]
        )
        if not points:
            if point_glob.startswith("clock"):
                raise PlanError(
                    "layer 'clock' holds times, which no glob can choose from; write plans, such as "
                    "'clock.millisecond@1#20=kill(SIGKILL)'"
                )
            known = [str(point) for point in catalogue()]
            raise PlanError(
                f"no injection point matches {seen(point_glob)}; points are layer.name, as in 'writer.*'"
                f"{nearest(point_glob, known)}"
            )
        found = {
            (_site(point, files), moment)
            for point in points
            for moment in (point.moments if colon else point.known_moments)
            if moment in wanted
        }
        if colon and not found:
            raise PlanError(f"none of {listed(map(str, points))} has the moment {seen(moment_glob)}")
        chosen |= found
    if not chosen:
        raise PlanError(f"no point of {listed(globs)} has one of the moments {listed(moments)}")
    order = {str(point): number for number, point in enumerate(catalogue())}

    def key(place: Place) -> tuple[int, str, int]:
        return order.get(place[0].partition("(")[0], len(order)), place[0], MOMENTS.index(place[1])

    return tuple(sorted(chosen, key=key))


def _parts(text: str) -> tuple[str, str, str, str]:
    """The glob over points, files and threads in their brackets or "", a colon or "", and the glob over moments."""
    point_glob, bracket, rest = text.partition("(")
    if not bracket:
        point_glob, colon, moment_glob = text.partition(":")
        if point_glob.startswith(f"{CALL}."):
            name, colon, moment_glob = moment_glob.partition(":")
            point_glob = f"{point_glob}:{name}"
        return point_glob, "", colon, moment_glob
    inside, end, behind = rest.rpartition(")")
    if not end or (behind and not behind.startswith(":")):
        raise PlanError(
            f"files and threads stand in brackets behind a point, as in 'fs.write(\"*.distcp\")' (got {seen(text)})"
        )
    return point_glob, f"({inside})", behind[:1], behind[1:]


def _site(point: Point, files: str) -> str:
    return Fault.parse(f"{point}{files}=delay(0)").site if files else str(point)


def choose_actions(globs: Iterable[str | Action], allow: Iterable[str] = ()) -> tuple[Action, ...]:
    """The standard actions, and those of files, values and requests, that globs match, and those in full; each once."""
    chosen: dict[Action, None] = {}
    allowed = tuple(allow)
    for text in _texts(globs):
        if isinstance(text, Action):
            chosen[text] = None
            continue
        try:
            chosen[read_action(text, allowed)] = None
            continue
        except PlanError as error:
            reason = error
        matches = [
            name
            for name in (*STANDARD_ACTIONS, *FILE_ACTIONS, *VALUE_ACTIONS, *REQUEST_ACTIONS)
            if fnmatch.fnmatchcase(name, text)
        ]
        if not matches:
            if any(mark in text for mark in "*?[") and '"' not in text:
                raise PlanError(
                    f"no standard action matches {seen(text)}; they are {listed(STANDARD_ACTIONS)}"
                    f"{nearest(text, STANDARD_ACTIONS)}"
                )
            raise reason
        for name in matches:
            chosen[read_action(name)] = None
    if not chosen:
        raise PlanError(f"no action is chosen; standard actions are {listed(STANDARD_ACTIONS)}")
    return tuple(chosen)


def _matching_moments(glob: str) -> list[str]:
    found = [moment for moment in MOMENTS if fnmatch.fnmatchcase(moment, glob)]
    if not found:
        raise PlanError(f"unknown moment {seen(glob)}; moments are {listed(MOMENTS)}{nearest(glob, MOMENTS)}")
    return found


def _texts(values: Iterable[Any]) -> list[Any]:
    return [values] if isinstance(values, str) else list(values)
