"""What a recording did to files, as units that a crash may keep or lose: see `faultkit.crash.enumeration.units`.

Names are followed as the kernel follows them: a directory is its own file and an entry of it is (directory, name),
so the rename of a directory moves what is in it, and a unit still means the same when units before it are lost.

Guarantees: applying all units in order gives the tree that the recorded run left.  Failed operations are none.
Not covered: times, permissions, holes punched, memory maps, and a symbolic link that leads out of the root.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from faultkit.crash.enumeration.contents import Contents, in_pieces
from faultkit.crash.enumeration.units import DATA, NAME, ROOT, TRUNCATE, History, Key, Touch, Unit

if TYPE_CHECKING:
    from faultkit.recording.operations import Operation, Recording

__all__ = ["read_history"]

SYMLINKS_MAX = 40


def read_history(recording: Recording, pieces: int) -> History:
    """The history of `recording`, the un-synced data of one file cut in at most `pieces` pieces."""
    return _Reader(recording, pieces).read()


def _sync_of(flags: int) -> str:
    """What a write waits for by flags of open: its file, the data, or nothing.  O_SYNC has the bit of O_DSYNC."""
    return "file" if flags & os.O_SYNC == os.O_SYNC else "data" if flags & os.O_DSYNC else ""


class _Reader:
    def __init__(self, recording: Recording, pieces: int) -> None:
        self.recording = recording
        self.pieces = pieces
        self.next_inode = ROOT + 1
        self.entries: dict[Key, int] = {}
        self.base: dict[int, bytes] = {}
        self.links: dict[int, str] = {}
        self.directories = {ROOT}
        self.contents = Contents()
        self.handles: dict[tuple[int, int], tuple[int, int]] = {}  # (rank, handle) -> inode, flags
        self.files: dict[int, int] = {}  # number in the recording -> inode
        self.raw: list[tuple[Operation, str, dict[str, Any]]] = []  # units before data is cut in pieces
        self.touches: dict[int, Touch] = {}
        self.skipped: list[int] = []

    # -- names -----------------------------------------------------------------------------------

    def new_inode(self) -> int:
        self.next_inode += 1
        return self.next_inode - 1

    def lookup(self, path: str, follow: bool = True) -> tuple[Key | None, int | None, list[Key]]:
        """(entry of the last component, its file or None, every entry passed); (None, ROOT, []) of the root."""
        passed: list[Key] = []
        waiting = [part for part in path.split("/") if part not in ("", ".")]
        at, links = ROOT, 0
        key: Key | None = None
        found: int | None = ROOT
        parents = [ROOT]
        while waiting:
            part = waiting.pop(0)
            if part == "..":
                parents = parents[:-1] or [ROOT]
                at, key, found = parents[-1], None, parents[-1]
                continue
            key = (at, part)
            passed.append(key)
            found = self.entries.get(key)
            if found in self.links and (waiting or follow) and links < SYMLINKS_MAX:
                links += 1
                text = self.links[found]
                if text.startswith("/"):
                    inside = os.path.relpath(text, self.recording.root)
                    text, at, parents = inside, ROOT, [ROOT]
                waiting = [p for p in text.split("/") if p not in ("", ".")] + waiting
                key, found = None, at
                continue
            if waiting:
                if found is None or found not in self.directories:
                    return None, None, passed
                at = found
                parents.append(found)
        return key, found, passed

    # -- one operation ---------------------------------------------------------------------------

    def read(self) -> History:
        for path, content in sorted(self.recording.before.items()):
            self._add_before(path, content)
        for path, text in sorted(self.recording.links.items()):
            self._add_before(path, b"")
            inode = self.lookup(path, follow=False)[1]
            if inode is not None:
                self.links[inode] = text
        start = (dict(self.base), dict(self.entries), dict(self.links))
        for operation in self.recording.operations:
            if operation.error:
                continue
            handler = getattr(self, f"_do_{operation.kind}", None)
            if handler is not None and handler(operation) is False:
                self.skipped.append(operation.index)
        units, of_operation = self._cut()
        return History(
            units=units,
            of_operation=of_operation,
            touches=self.touches,
            base=start[0],
            entries=start[1],
            links=self.links,
            directories=self.directories,
            skipped=self.skipped,
        )

    def _add_before(self, path: str, content: bytes | None) -> None:
        at = ROOT
        parts = [part for part in path.split("/") if part not in ("", ".")]
        for place, part in enumerate(parts):
            key = (at, part)
            if key not in self.entries:
                inode = self.entries[key] = self.new_inode()
                if place < len(parts) - 1 or content is None:
                    self.directories.add(inode)
                else:
                    self.base[inode] = content
                    self.contents.add(inode, len(content))
            at = self.entries[key]

    def _touch(
        self,
        operation: Operation,
        reads: list[Key],
        writes: list[Key],
        inode: int,
        sync: str = "",
        **content: Any,
    ) -> None:
        self.touches[operation.index] = Touch(tuple(reads), tuple(writes), inode, sync, **content)

    def _name(
        self, operation: Operation, inode: int, sets: list[tuple[Key, int]], removes: list[Key]
    ) -> None:
        for key in removes:
            self.entries.pop(key, None)
        self.entries.update(sets)
        self.raw.append((operation, NAME, {"inode": inode, "sets": tuple(sets), "removes": tuple(removes)}))

    def _of_handle(self, operation: Operation) -> tuple[int | None, int]:
        known = self.handles.get((operation.rank, operation.handle)) if operation.handle >= 0 else None
        if known is not None:
            return known
        if operation.file in self.files:
            return self.files[operation.file], 0
        return self.lookup(operation.path)[1], 0

    def _do_open(self, operation: Operation) -> bool | None:
        key, inode, passed = self.lookup(operation.path)
        temporary = getattr(os, "O_TMPFILE", 0)
        unnamed = bool(temporary) and operation.flags & temporary == temporary
        changed: list[Key] = []
        # an open that changes nothing is looked at only where it may read: else it would order ranks that do not wait
        content = "read" if operation.flags & os.O_ACCMODE != os.O_WRONLY else ""
        if inode is None or unnamed:
            if not unnamed and (key is None or not operation.flags & os.O_CREAT):
                return False
            inode = self.new_inode()
            self.base[inode] = b""
            self.contents.add(inode, 0)
            content = "whole"
            if not unnamed and key is not None:
                changed = [key]
                self._name(operation, inode, [(key, inode)], [])
        elif operation.flags & os.O_TRUNC and self.contents.size(inode):
            self._truncate(operation, inode, 0)
            content = "whole"
        elif inode in self.directories:
            content = ""
        self.handles[(operation.rank, operation.handle)] = (inode, operation.flags)
        if operation.file >= 0:
            self.files[operation.file] = inode
        self._touch(operation, passed, changed, inode, content=content)
        return None

    def _truncate(self, operation: Operation, inode: int, size: int) -> None:
        self.raw.append((operation, TRUNCATE, self.contents.truncate(inode, size)))

    def _do_truncate(self, operation: Operation) -> bool | None:
        inode, _ = self._of_handle(operation)
        if inode is None:
            return False
        changes = self.contents.size(inode) != operation.offset
        if changes:
            self._truncate(operation, inode, operation.offset)
        self._touch(operation, [], [], inode, content="whole" if changes else "")
        return None

    def _do_write(self, operation: Operation) -> bool | None:
        inode, flags = self._of_handle(operation)
        if inode is None:
            return False
        if operation.data:
            self.raw.append((operation, DATA, self.contents.write(inode, operation.offset, operation.data)))
        synced = _sync_of(flags | operation.flags)
        what = "whole" if flags & os.O_APPEND else "write"
        span = {"start": operation.offset, "stop": operation.offset + len(operation.data)}
        self._touch(operation, [], [], inode, synced, content=what, handle=operation.handle, **span)
        if synced:
            self.contents.sync(inode)
        return None

    def _do_fsync(self, operation: Operation, sync: str = "file") -> bool | None:
        inode, _ = self._of_handle(operation)
        if inode is None:
            return False
        if inode in self.directories:
            self._touch(operation, [], [], inode, "directory")
        else:
            self._touch(operation, [], [], inode, sync, content="sync")
            self.contents.sync(inode)
        return None

    def _do_fdatasync(self, operation: Operation) -> bool | None:
        return self._do_fsync(operation, "data")

    def _do_sync(self, operation: Operation) -> bool | None:
        self._touch(operation, [], [], -1, "all")
        self.contents.sync_all()
        return None

    def _do_fsync_directory(self, operation: Operation) -> bool | None:
        _, inode, passed = self.lookup(operation.path)
        if inode is None:
            return False
        self._touch(operation, passed, [], inode, "directory")
        return None

    def _do_rename(self, operation: Operation) -> bool | None:
        source, inode, passed = self.lookup(operation.path, follow=False)
        target, replaced, also = self.lookup(operation.target, follow=False)
        if source is None or inode is None or target is None:
            return False
        if inode == replaced:
            return None
        self._name(operation, inode, [(target, inode)], [source])
        self._touch(operation, passed + also, [source, target], inode)
        return None

    def _do_link(self, operation: Operation) -> bool | None:
        _, inode, passed = self.lookup(operation.path, follow=False)
        target, _, also = self.lookup(operation.target, follow=False)
        if inode is None:
            inode = self.files.get(operation.file)
        if inode is None or target is None:
            return False
        self._name(operation, inode, [(target, inode)], [])
        self._touch(operation, passed + also, [target], inode)
        return None

    def _do_symlink(self, operation: Operation) -> bool | None:
        key, _, passed = self.lookup(operation.path, follow=False)
        if key is None:
            return False
        inode = self.new_inode()
        self.links[inode] = operation.target
        self._name(operation, inode, [(key, inode)], [])
        self._touch(operation, passed, [key], inode)
        return None

    def _do_unlink(self, operation: Operation) -> bool | None:
        key, inode, passed = self.lookup(operation.path, follow=False)
        if key is None or inode is None:
            return False
        self._name(operation, inode, [], [key])
        self._touch(operation, passed, [key], inode)
        return None

    def _do_rmdir(self, operation: Operation) -> bool | None:
        return self._do_unlink(operation)

    def _do_mkdir(self, operation: Operation) -> bool | None:
        key, found, passed = self.lookup(operation.path, follow=False)
        if key is None or found is not None:
            return False
        inode = self.new_inode()
        self.directories.add(inode)
        self._name(operation, inode, [(key, inode)], [])
        self._touch(operation, passed, [key], inode)
        return None

    # -- data in pieces --------------------------------------------------------------------------

    def _cut(self) -> tuple[list[Unit], dict[int, int]]:
        writes = in_pieces([values for _, kind, values in self.raw if kind == DATA], self.pieces)
        parts_of_writes = iter(writes)
        units: list[Unit] = []
        of_operation: dict[int, int] = {}
        for operation, kind, values in self.raw:
            for part in next(parts_of_writes) if kind == DATA else [values]:
                unit = Unit(number=len(units), operation=operation.index, kind=kind, **part)
                units.append(unit)
                of_operation[operation.index] = of_operation.get(operation.index, 0) | unit.bit
        return units, of_operation
