"""Which checkpoints a job had acknowledged at each moment of its recording, those that it removed itself among them.

A job acknowledges a checkpoint when it goes on as if it had it: with the first operation on another checkpoint, or the
first that removes this one.  Guarantees: a checkpoint is complete with the last operation that made something of it
before it was removed, or before the recording ended; it takes the operations on its own names and on what was renamed
to them, from where it was begun.  What a crash itself took of it is not held against the job: only a state that has
all of these, and came to the one that acknowledges it, owes its step.

Not covered: checkpoints without a number in their names, and one that nothing follows, for which
`faultkit.crash.scripts.resume` looks at what lies there.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable

import msgspec

from faultkit.crash.scripts.resume import step_of, with_directory
from faultkit.recording.operations import Operation, Recording

__all__ = ["Acknowledged", "acknowledged_by", "moments_of"]

MAKERS = frozenset({"open", "write", "truncate", "rename", "link", "symlink", "mkdir"})
REMOVERS = frozenset({"unlink", "rmdir"})


class Acknowledged(msgspec.Struct, frozen=True):
    """A checkpoint of `step` took the operations `made`; the operation `by` says that the job had it."""

    step: int
    made: tuple[int, ...]
    by: int


def acknowledged_by(recording: Recording, pattern: str, directory: str) -> tuple[Acknowledged, ...]:
    """Every checkpoint of the recording that matches `pattern` in `directory`, and was acknowledged."""
    (relative,) = with_directory((pattern,), "")
    parts = [directory, *relative.strip("/").split("/")]
    operations = [one for one in recording.operations if not one.error]
    touching = {one.index: _names_in(one, parts) for one in operations}
    found = []
    for name in dict.fromkeys(name for names in touching.values() for name in names):
        step = step_of(name)
        if step is None:
            continue
        for made, removed_at in _lives(operations, name):
            last = made[-1]
            others = (
                one.index
                for one in operations
                if one.index > last and _changes(one) and any(other != name for other in touching[one.index])
            )
            by = min((index for index in (next(others, -1), removed_at) if index >= 0), default=-1)
            if by >= 0:
                found.append(Acknowledged(step, _with_sources(operations, made), by))
    return tuple(found)


def moments_of(recording: Recording, pattern: str, directory: str) -> list[int]:
    """How many operations were done when a checkpoint that matches was there and nothing had followed, newest first.

    That is before the operation that acknowledges it, when what points to it has been written too, and else when its
    own last operation was done, and before the last change of all.
    """
    (relative,) = with_directory((pattern,), "")
    parts = [directory, *relative.strip("/").split("/")]
    operations = [one for one in recording.operations if not one.error]
    names = dict.fromkeys(name for one in operations for name in _names_in(one, parts))
    made = {lives[-1] for name in names if step_of(name) for lives, _ in _lives(operations, name)}
    found = {one.by for one in acknowledged_by(recording, pattern, directory) if one.step}
    if made:
        last = max(one.index for one in operations if _changes(one))
        found |= {index + 1 for index in made} | ({last} if last > max(made) else set())
    return sorted(found, reverse=True)


def _lives(operations: Iterable[Operation], name: str) -> list[tuple[list[int], int]]:
    """For each time that `name` was made: the operations that it took, and the first that removed it, or -1."""
    lives: list[tuple[list[int], int]] = []
    made: list[int] = []
    removing: list[int] = []
    for one in operations:
        is_there, is_goal = _lies_in(one.path, name), _lies_in(one.target, name)
        if one.kind not in MAKERS | REMOVERS or not (
            is_there or (one.kind in ("rename", "link") and is_goal)
        ):
            continue
        leaves = one.kind == "rename" and is_there and not is_goal
        if one.kind in REMOVERS or leaves:
            removing.append(one.index)
            if one.path == name:
                if made:
                    lives.append((made, removing[0]))
                made, removing = [], []
        elif _changes(one):
            made += [*removing, one.index]  # what was removed before was no end
            removing = []
    if made:
        lives.append((made, removing[0] if removing else -1))
    return lives


def _with_sources(operations: list[Operation], made: list[int]) -> tuple[int, ...]:
    """`made`, and what made that which was renamed or linked there."""
    by_index = {one.index: one for one in operations}
    found = set(made)
    waiting = list(made)
    while waiting:
        one = by_index[waiting.pop()]
        if one.kind not in ("rename", "link"):
            continue
        for other in operations:
            if other.index >= one.index:
                break
            is_source = _lies_in(other.path, one.path) or (
                other.kind in ("rename", "link") and _lies_in(other.target, one.path)
            )
            if is_source and other.index not in found and other.kind in MAKERS:
                found.add(other.index)
                waiting.append(other.index)
    return tuple(sorted(found))


def _changes(operation: Operation) -> bool:
    if operation.kind == "open":
        return bool(operation.flags & (os.O_CREAT | os.O_TRUNC))
    return operation.kind in MAKERS or operation.kind in REMOVERS


def _names_in(operation: Operation, parts: list[str]) -> tuple[str, ...]:
    """The names that match which `operation` is about."""
    paths = (operation.path, operation.target) if operation.kind in ("rename", "link") else (operation.path,)
    found = []
    for path in paths:
        names = path.split("/")[: len(parts)]
        if len(names) == len(parts) and all(map(_matches, names, parts)):
            found.append("/".join(names))
    return tuple(found)


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith("."))


def _lies_in(name: str, directory: str) -> bool:
    return name == directory or name.startswith(f"{directory}/")
