"""Holds a recording to the disk: the operations, applied to the tree before, must give the tree after.

Guarantees: what was written past the recorder is named, and the recording refused; where calls overlapped in time
and took effect in the order of their ends, they are told in that order.  Not covered: syncs and opens that nobody saw,
which leave no trace in a tree.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from faultkit.exceptions import UnseenWriter
from faultkit.recording.operations import Recording
from faultkit.recording.tree import Tree, read_tree, tree_after

__all__ = ["verified"]

NAME_COUNT_MAX = 5  # of files that a message names


def verified(
    recording: Recording, died: tuple[int, ...] = (), is_told: Callable[[str], bool] | None = None
) -> Recording:
    """Hold the operations to the disk, of all names or those that are told.

    Where a rank `died` a difference is a note, since its last call is open.
    """
    after = read_tree(recording.root)
    if is_told is not None:
        after = Tree(
            {name: content for name, content in after.entries.items() if is_told(name)},
            {name: text for name, text in after.links.items() if is_told(name)},
            {},
        )
    wrong = _unexplained(recording, after)
    if not wrong:
        return recording
    by_end = _by_end(recording)
    if not _unexplained(by_end, after):
        return by_end  # calls of two ranks overlapped in time, and took effect in the order of their ends
    entries, _ = tree_after(recording)
    named = ", ".join(
        f"{name} ({_difference(name, entries, after.entries)})" for name in wrong[:NAME_COUNT_MAX]
    )
    more = f" and {len(wrong) - NAME_COUNT_MAX} more" if len(wrong) > NAME_COUNT_MAX else ""
    sentence = f"the recorded operations do not explain what is on disk: {named}{more}"
    if died:
        ranks = ", ".join(map(str, died))
        return msgspec.structs.replace(
            recording, notes=(*recording.notes, f"{sentence}; rank {ranks} ended within an operation")
        )
    hint = (
        "something writes below Python (use backend='preload'), through a memory map, from a child process, "
        "or after the function has returned"
    )
    notes = f"; noted: {'; '.join(recording.notes)}" if recording.notes else ""
    raise UnseenWriter(f"record: {sentence}; {hint}{notes}")


def _unexplained(recording: Recording, after: Tree) -> list[str]:
    """The names whose content, or whose being there, does not follow from the operations in their order."""
    entries, links = tree_after(recording)
    wrong = [
        name
        for name in sorted({*entries, *after.entries})
        if (name in entries) != (name in after.entries) or entries.get(name) != after.entries.get(name)
    ]
    return wrong + [
        name for name in sorted({*links, *after.links}) if links.get(name) != after.links.get(name)
    ]


def _by_end(recording: Recording) -> Recording:
    ordered = sorted(recording.operations, key=lambda operation: operation.end_seconds)
    operations = tuple(msgspec.structs.replace(one, index=index) for index, one in enumerate(ordered))
    return msgspec.structs.replace(recording, operations=operations)


def _difference(name: str, recorded: dict[str, bytes | None], found: dict[str, bytes | None]) -> str:
    if name not in recorded:
        return "on disk, and no operation made it"
    if name not in found:
        return "recorded, and not on disk"
    expected, seen = recorded[name], found[name]
    if expected is None or seen is None:
        return "a file in one, a directory in the other"
    return f"{len(seen)} bytes on disk, {len(expected)} recorded, and they differ"
