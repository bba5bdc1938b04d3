"""A directory tree as a value, and what operations make of it.

Guarantees: `read_tree` gives every file's content, every directory and every symbolic link; `tree_after` applies
operations one after the other, by name and by file, so an open file is followed through renames and after it lost
its name.  What operations make of a file is held in the pieces that were written, not copied, as long as each follows
the one before (`faultkit.recording.written`).  Not covered: owners, modes and times.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

import msgspec

from faultkit.recording.operations import Operation, Recording
from faultkit.recording.written import Written

__all__ = ["Tree", "files_after", "put_back", "read_tree", "tree_after"]


class Tree(msgspec.Struct, frozen=True):
    """`entries`: content of files, None for directories; `links`: text of symbolic links; `identities`: (device,
    inode) of each name.  Names are relative to the root, "" is the root."""

    entries: dict[str, bytes | None]
    links: dict[str, str]
    identities: dict[str, tuple[int, int]]


def read_tree(root: str, contents: bool = True) -> Tree:
    """Read what lies under `root`; without `contents` every file counts as empty."""
    entries: dict[str, bytes | None] = {}
    links: dict[str, str] = {}
    identities: dict[str, tuple[int, int]] = {}
    waiting = [""]
    while waiting:
        name = waiting.pop()
        path = os.path.join(root, name) if name else root
        try:
            state = os.lstat(path)
            identities[name] = (state.st_dev, state.st_ino)
            if stat.S_ISLNK(state.st_mode):
                links[name] = os.readlink(path)
            elif stat.S_ISDIR(state.st_mode):
                if name:
                    entries[name] = None
                waiting += [f"{name}/{one}" if name else one for one in os.listdir(path)]
            elif stat.S_ISREG(state.st_mode):
                entries[name] = _content(path) if contents else b""
        except FileNotFoundError:
            continue  # it went meanwhile
    return Tree(dict(sorted(entries.items())), dict(sorted(links.items())), identities)


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def put_back(root: str, tree: Tree) -> None:
    """Make what lies under `root` as it was when `tree` was read; what has not changed stays as it is.

    Raises OSError where that cannot be done.
    """
    now = read_tree(root)
    held: dict[str, bytes | str | None] = {**tree.entries, **tree.links}
    found: dict[str, bytes | str | None] = {**now.entries, **now.links}
    for name in sorted(found, reverse=True):  # what is in a directory before itself
        path = os.path.join(root, name)
        if name in held and _alike(held[name], found[name]):
            continue
        if found[name] is None:
            os.rmdir(path)
        elif not (isinstance(held.get(name), bytes) and isinstance(found[name], bytes)):
            os.unlink(path)
    for name, content in sorted(held.items()):
        path = os.path.join(root, name)
        if name in found and _alike(content, found[name]):
            continue
        if content is None:
            os.mkdir(path)
        elif isinstance(content, str):
            os.symlink(content, path)
        else:
            with open(path, "wb") as file:
                file.write(content)


def _alike(one: bytes | str | None, other: bytes | str | None) -> bool:
    return type(one) is type(other) and one == other


def tree_after(
    recording: Recording, operations: Iterable[Operation] | None = None
) -> tuple[dict[str, bytes | None], dict[str, str]]:
    """(entries, links) as `before` and `links` of a recording are, after `operations`; all of them by default.

    Operations that failed do nothing.  Raises nothing: an operation on a file that is not there is left out.
    """
    files, links = files_after(recording, operations)
    return {name: None if file is None else bytes(file) for name, file in files.items()}, links


def files_after(
    recording: Recording, operations: Iterable[Operation] | None = None
) -> tuple[dict[str, Written | None], dict[str, str]]:
    """The same without a copy of what was written."""
    state = _State(recording)
    for operation in recording.operations if operations is None else operations:
        if not operation.error:
            state.apply(operation)
    files: dict[str, Written | None] = {}
    for name, file in state.names.items():
        files[name] = None if file is None else state.contents.get(file, Written())
    return files, state.links


class _State:
    def __init__(self, recording: Recording) -> None:
        self.names: dict[str, int | None] = {}  # None for a directory
        self.links = dict(recording.links)
        self.contents: dict[int, Written] = {}
        self.by_number: dict[int, int] = {}  # number in the recording -> ours
        self.next = -2
        for name, content in recording.before.items():
            self.names[name] = None if content is None else self.new(content)

    def new(self, content: bytes = b"") -> int:
        self.next -= 1
        self.contents[self.next] = Written(content)
        return self.next

    def file(self, operation: Operation) -> int | None:
        """Our number of the file of an operation: by its number where known, else by its name."""
        known = self.by_number.get(operation.file)
        if known is None:
            known = self.names.get(operation.path)
            if known is None:
                return None
            if operation.file >= 0:
                self.by_number[operation.file] = known
        return known

    def apply(self, operation: Operation) -> None:
        path, target = operation.path, operation.target
        match operation.kind:
            case "open":
                if operation.flags & os.O_CREAT and path not in self.names and path not in self.links:
                    self.names[path] = self.new()
                    self.by_number[operation.file] = self.names[path]  # type: ignore[assignment]
                file = self.file(operation)
                if file is not None and operation.flags & os.O_TRUNC:
                    self.contents[file].truncate(0)
            case "write":
                file = self.file(operation)
                if file is not None:
                    self.contents[file].write(operation.offset, operation.data)
            case "truncate":
                file = self.file(operation)
                if file is not None:
                    self.contents[file].truncate(operation.offset)
            case "mkdir":
                if path:
                    self.names[path] = None
            case "rmdir":
                self.names.pop(path, None)
            case "symlink":
                self.links[path] = target
            case "unlink":
                self.file(operation)
                self.names.pop(path, None)
                self.links.pop(path, None)
            case "link":
                if path in self.links:
                    self.links[target] = self.links[path]
                elif (file := self.file(operation)) is not None:
                    self.names[target] = file
            case "rename":
                self.rename(operation)

    def rename(self, operation: Operation) -> None:
        path, target = operation.path, operation.target
        if path == target:
            return
        if path in self.names and self.names[path] is not None:
            if self.names.get(target) == self.names[path]:
                return  # two names of one file: the system does nothing
            self.file(operation)
        if path not in self.names and path not in self.links:
            return
        for table in (self.names, self.links):
            table.pop(target, None)
            moved = [name for name in table if name == path or name.startswith(f"{path}/")]
            for name in moved:
                table[target + name[len(path) :]] = table.pop(name)  # type: ignore[assignment]
