"""Holds a recording to the disk: the operations, applied to the tree before, must give the tree after.

Guarantees: what was written past the recorder is named, and the recording refused; where calls overlapped in time
and took effect in the order of their ends, they are told in that order.  The disk is compared piece by piece, without a
copy of what was written.  Not covered: syncs and opens that nobody saw, which leave no trace in a tree.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from faultkit.exceptions import UnseenWriter
from faultkit.recording.operations import Recording
from faultkit.recording.tree import Tree, files_after, read_tree
from faultkit.recording.written import Written

__all__ = ["verified"]

NAME_COUNT_MAX = 5  # of files that a message names


def verified(
    recording: Recording, died: tuple[int, ...] = (), is_told: Callable[[str], bool] | None = None
) -> Recording:
    """Hold the operations to the disk, of all names or those that are told.

    Where a rank `died` a difference is a note, since its last call is open.
    """
    after = read_tree(recording.root, contents=False)
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
    files, _ = files_after(recording)
    named = ", ".join(
        f"{name} ({_difference(name, files, after, recording.root)})" for name in wrong[:NAME_COUNT_MAX]
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
    files, links = files_after(recording)
    wrong = [
        name
        for name in sorted({*files, *after.entries})
        if (name in files) != (name in after.entries)
        or not _is_on_disk(os.path.join(recording.root, name), files[name], after.entries[name])
    ]
    return wrong + [
        name for name in sorted({*links, *after.links}) if links.get(name) != after.links.get(name)
    ]


def _by_end(recording: Recording) -> Recording:
    ordered = sorted(recording.operations, key=lambda operation: operation.end_seconds)
    operations = tuple(msgspec.structs.replace(one, index=index) for index, one in enumerate(ordered))
    return msgspec.structs.replace(recording, operations=operations)


def _is_on_disk(path: str, expected: Written | None, found: bytes | None) -> bool:
    if expected is None or found is None:
        return expected is None and found is None
    try:
        return expected.is_in(path)
    except FileNotFoundError:
        return False  # it went meanwhile


def _difference(name: str, recorded: dict[str, Written | None], found: Tree, root: str) -> str:
    if name not in recorded:
        return "on disk, and no operation made it"
    if name not in found.entries:
        return "recorded, and not on disk"
    expected = recorded[name]
    if expected is None or found.entries[name] is None:
        return "a file in one, a directory in the other"
    size = os.stat(os.path.join(root, name)).st_size
    return f"{size} bytes on disk, {len(expected)} recorded, and they differ"
