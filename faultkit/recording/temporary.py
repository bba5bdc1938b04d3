"""A directory for temporary files beside what is recorded: what moves between the two is kept, and nothing else.

A program that writes to TMPDIR and renames the file into place does one thing where both lie on one file system, and
another where they do not.  So a command is recorded with both under one root.  Guarantees: after `without_unrelated`
every operation is there that made, changed, moved or removed what was moved or linked from the one to the other, and
what was done to the directories above it; what a program only used for itself is left out, with its names.

Not covered: what comes there by a copy, which is a write like any other.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from faultkit.recording.operations import Operation, Recording

__all__ = ["without_unrelated"]

MOVES = ("rename", "link")
OF_A_DIRECTORY = ("mkdir", "rmdir", "fsync_directory")


def without_unrelated(recording: Recording, temporary: str) -> tuple[Recording, Callable[[str], bool]]:
    """(`recording` without what is done beneath the directory `temporary` for itself, whether a name is still told)."""
    related = _related(recording, temporary)

    def is_told(name: str) -> bool:
        if not _lies_in(name, temporary) or name == temporary:
            return True
        return any(_lies_in(name, one) or _lies_in(one, name) for one in related)

    def is_kept(operation: Operation) -> bool:
        if operation.path == temporary:  # itself, or a file in it that has no name yet
            return temporary in related or (bool(related) and operation.kind in OF_A_DIRECTORY)
        return is_told(operation.path) or (operation.kind in MOVES and is_told(operation.target))

    places: dict[int, int] = {}
    last_of: dict[tuple[int, int], list[tuple[int, int]]] = {}  # of a thread its operations: before, and now
    kept: list[Operation] = []
    for operation in recording.operations:
        if not is_kept(operation):
            continue
        after = operation.after
        if (
            after >= 0 and after not in places
        ):  # the last that is kept of what the other thread had done by then
            other = recording.operations[after]
            earlier = [now for before, now in last_of.get((other.rank, other.thread), ()) if before < after]
            if not earlier:
                continue
            after = earlier[-1]
        elif after >= 0:
            after = places[after]
        places[operation.index] = len(kept)
        last_of.setdefault((operation.rank, operation.thread), []).append((operation.index, len(kept)))
        kept.append(msgspec.structs.replace(operation, index=len(kept), after=after))
    before = {name: content for name, content in recording.before.items() if is_told(name)}
    links = {name: text for name, text in recording.links.items() if is_told(name)}
    change = msgspec.structs.replace
    return change(recording, operations=tuple(kept), before=before, links=links), is_told


def _related(recording: Recording, temporary: str) -> set[str]:
    """Names in `temporary` of what was moved or linked from there or to there, under each name that it had there."""
    found: set[str] = set()
    within: list[tuple[str, str]] = []
    for operation in recording.operations:
        if operation.kind == "symlink":
            goal = operation.target.removeprefix(f"{recording.root}/")
            if goal != operation.target and _lies_in(goal, temporary):
                found.add(goal)
        if operation.kind not in MOVES:
            continue
        ends = [end for end in (operation.path, operation.target) if _lies_in(end, temporary)]
        if len(ends) == 1:
            found.update(ends)
        elif ends:
            within.append((operation.path, operation.target))
    before = -1
    while len(found) != before:
        before = len(found)
        for ends_within in within:
            if any(_lies_in(end, one) or _lies_in(one, end) for end in ends_within for one in found):
                found.update(ends_within)
    return found


def _lies_in(name: str, directory: str) -> bool:
    return name == directory or name.startswith(f"{directory}/")
