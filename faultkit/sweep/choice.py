"""What a sweep breaks and how: globs over injection points and actions, resolved to values.

    points    'writer.*'   'writer.write_data:after'   '*'      a moment behind ':' is a glob, too
    actions   'raise*'     '*'                                  over the standard actions
              'raise(TimeoutError)'                             any action, written in full

Layer ``storage`` repeats writer and reader, so only a glob that begins with its name means it; layer
``clock`` holds times, which are no places that a scenario comes by, so that its faults need plans of their
own.  Raises PlanError for a glob that matches nothing, with the nearest word.  Left out: which points a
scenario reaches.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

from faultkit.actions import Action
from faultkit.grammar import read_action
from faultkit.points import MOMENTS, catalogue
from faultkit.wording import PlanError, listed, nearest, seen

__all__ = ["DEFAULT_ACTIONS", "DEFAULT_MOMENTS", "STANDARD_ACTIONS", "choose_actions", "choose_places"]

Place = tuple[str, str]  # (point, moment)

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
    "segfault",
)
DEFAULT_ACTIONS = STANDARD_ACTIONS[:1]
DEFAULT_MOMENTS = ("before", "future")


def choose_places(globs: Iterable[str], moments: Iterable[str] = DEFAULT_MOMENTS) -> tuple[Place, ...]:
    """The points and moments that the globs match, in the order of the catalogue; `moments` are globs, too.

    A glob without a moment stands for those of `moments` that a point has.
    """
    globs, moments = _texts(globs), _texts(moments)
    for moment in moments:
        _matching_moments(moment)
    chosen: set[Place] = set()
    for text in globs:
        point_glob, colon, moment_glob = text.partition(":")
        wanted = (
            _matching_moments(moment_glob) if colon else [m for g in moments for m in _matching_moments(g)]
        )
        of_storage = point_glob.startswith("storage")
        points = [
            point
            for point in catalogue()
            if fnmatch.fnmatchcase(str(point), point_glob)
            and point.layer != "clock"
            and (of_storage or point.layer != "storage")
        ]
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
        found = {(str(point), moment) for point in points for moment in point.moments if moment in wanted}
        if colon and not found:
            raise PlanError(f"none of {listed(map(str, points))} has the moment {seen(moment_glob)}")
        chosen |= found
    if not chosen:
        raise PlanError(f"no point of {listed(globs)} has one of the moments {listed(moments)}")
    order = [(str(point), moment) for point in catalogue() for moment in MOMENTS]
    return tuple(place for place in order if place in chosen)


def choose_actions(globs: Iterable[str | Action], allow: Iterable[str] = ()) -> tuple[Action, ...]:
    """The standard actions that the globs match, and those written in full or given as values; each once."""
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
        matches = [name for name in STANDARD_ACTIONS if fnmatch.fnmatchcase(name, text)]
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
