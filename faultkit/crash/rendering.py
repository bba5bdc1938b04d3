"""What was lost, where a crash struck and which source lines are concerned, in words.

Names are shown relative to the directory of the checkpoint.  `role` takes the numbers out of names, so that the
same loss on another rank, or of another shard, has the same role.  Not covered: judging.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from faultkit.crash.enumeration.crash_model import crash_model
from faultkit.crash.enumeration.replay_space import ReplaySpace
from faultkit.crash.enumeration.state import Witness
from faultkit.crash.enumeration.units import DATA, TRUNCATE, Unit
from faultkit.crash.enumeration.witnesses import masks_of
from faultkit.known.identity import file_name

__all__ = [
    "at_words",
    "last_change",
    "lost_groups",
    "lost_words",
    "place_words",
    "roles",
    "where_lines",
    "without_numbers",
]

FRAMES_TOLD_MAX = 2
CHANGES = frozenset({"open", "write", "truncate", "rename", "link", "symlink", "unlink", "mkdir", "rmdir"})


def lost_groups(space: ReplaySpace, lost: int) -> list[list[Unit]]:
    """The lost units by operation, the data of one un-synced stretch of a file together."""
    groups: dict[tuple[str, int], list[Unit]] = {}
    for unit in space.units_in(lost):
        key = ("data", unit.stretch) if unit.kind == DATA else ("unit", unit.number)
        groups.setdefault(key, []).append(unit)
    return list(groups.values())


def lost_words(space: ReplaySpace, witness: Witness, directory: str) -> tuple[str, ...]:
    """Each lost operation in words: "rename(.metadata.tmp -> .metadata) on rank 0"."""
    _, lost, grown = masks_of(space, witness)
    return tuple(_words(space, group, grown, directory) for group in lost_groups(space, lost))


def roles(space: ReplaySpace, lost: int) -> tuple[str, ...]:
    """What is lost, without numbers of ranks, files and bytes; each once."""
    found = []
    for group in lost_groups(space, lost):
        operation = space.order.operations[group[0].operation]
        kind = {DATA: "data", TRUNCATE: "truncate"}.get(group[0].kind, operation.kind)
        found.append(f"{kind} {without_numbers(operation.path)} {without_numbers(operation.target)}".strip())
    return tuple(sorted(set(found)))


def place_words(space: ReplaySpace, witness: Witness) -> tuple[str, ...]:
    """What was lost, or where nothing was the last change done, without numbers and folders: "write(__*_*.distcp)"."""
    if crash_model(witness.model).is_power_cut and witness.lost:
        lost = lost_groups(space, masks_of(space, witness)[1])
        kinds = [(_kind_lost(space, group), space.order.operations[group[0].operation]) for group in lost]
    elif (last := last_change(space, witness)) is not None:
        kinds = [(space.order.operations[last].kind, space.order.operations[last])]
    else:
        kinds = []
    # the name that it has in the end: temporary ones are the same in no two programs
    return tuple(dict.fromkeys(f"{kind}({file_name(one.target or one.path)})" for kind, one in kinds))


def _kind_lost(space: ReplaySpace, group: list[Unit]) -> str:
    operation = space.order.operations[group[0].operation]
    return {DATA: "write", TRUNCATE: "truncate"}.get(group[0].kind, operation.kind)


def at_words(space: ReplaySpace, witness: Witness, directory: str) -> str:
    """When the crash struck: "power cut after unlink(.metadata) on rank 0, before rename(...) on rank 0"."""
    model = crash_model(witness.model)
    crash = model.crash
    if witness.phase == "returned":
        if not witness.lost:
            return "without any crash, after save had returned on every rank"
        return f"{crash} after save had returned on every rank"
    last, following = _around(space, witness)
    if last is None:
        return f"{crash} before the first change"
    text = f"{crash} {'within' if witness.lost and not model.is_power_cut else 'after'} "
    text += _describe(space, last, directory)
    return text + (f", before {_describe(space, following, directory)}" if following is not None else "")


def where_lines(space: ReplaySpace, witness: Witness) -> tuple[str, ...]:
    """Source lines of what was lost; where nothing was, of the last thing done and of the next."""
    indices = (
        list(dict.fromkeys(name[0] for name in witness.lost))
        if crash_model(witness.model).is_power_cut
        else []
    )
    if not indices and witness.phase == "returned":
        return ()
    if not indices:
        indices = [index for index in _around(space, witness) if index is not None]
    lines: dict[str, None] = {}
    for index in indices:
        for line in _own_frames(space.order.operations[index].where)[:FRAMES_TOLD_MAX]:
            lines.setdefault(line)
    return tuple(lines)


def _around(space: ReplaySpace, witness: Witness) -> tuple[int | None, int | None]:
    """(the last operation done that changed something, the first one not done)."""
    done = set(witness.done)
    following = min((index for index in space.history.of_operation if index not in done), default=None)
    return last_change(space, witness), following


def last_change(space: ReplaySpace, witness: Witness) -> int | None:
    """The index of the last operation done that changed something."""
    done = set(witness.done)
    return max((index for index in space.history.of_operation if index in done), default=None)


def _own_frames(where: Iterable[str]) -> list[str]:
    """Without the frames of the standard library, unless there are no others."""
    frames = list(where)
    own = [
        line
        for line in frames
        if "site-packages" in line
        or not re.search(
            r"(^|/)lib/python3[^/]*/|^(pathlib|os|shutil|io|contextlib|tempfile|threading|pickle)\.py:", line
        )
    ]
    return own or frames


def _words(space: ReplaySpace, group: list[Unit], grown: int, directory: str) -> str:
    operation = space.order.operations[group[0].operation]
    who = f" on rank {operation.rank}"
    name = _short(operation.path, directory)
    if group[0].kind == DATA:
        size = sum(unit.stop - unit.start for unit in group)
        low, high = min(unit.start for unit in group), max(unit.stop for unit in group)
        zeros = ", its size not" if all(unit.bit & grown for unit in group) else ""
        return f"write({name}, {size} bytes from {low} to {high}{zeros}){who}"
    if group[0].kind == TRUNCATE and operation.kind == "open":
        return f"truncation by open({name}){who}"
    if operation.kind == "open":
        return f"creation by open({name}){who}"
    return _describe(space, operation.index, directory)


def _describe(space: ReplaySpace, index: int, directory: str) -> str:
    operation = space.order.operations[index]
    shorter = msgspec.structs.replace(
        operation, path=_short(operation.path, directory), target=_short(operation.target, directory)
    )
    return space.recording.describe(shorter)


def _short(path: str, directory: str) -> str:
    return path[len(directory) + 1 :] if path.startswith(f"{directory}/") else path


def without_numbers(path: str) -> str:
    """A name without what makes it another one each time: numbers, and what `tempfile` draws."""
    return re.sub(r"\d+", "*", re.sub(r"\btmp[a-z0-9_]{8}\b", "tmp*", path))
