"""The tree that follows from a set of units, made quickly: names and contents are remembered by what they hang on.

Equal contents are one object, and equal lists of names are one object, so two trees are equal exactly where
they are made of the same objects.  Not covered: forgetting; a `TreeBuilder` lives as long as one exploration.
"""

from __future__ import annotations

import hashlib

from faultkit.crash.enumeration.state import State, Witness
from faultkit.crash.enumeration.units import DATA, NAME, ROOT, TRUNCATE, History, Unit

__all__ = ["TreeBuilder"]

Names = tuple[tuple[str, int], ...]  # path, inode; sorted by path


class TreeBuilder:
    """Trees of one history.  A tree is asked for by the mask of units applied, and of those that only grew."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._name_units = [unit for unit in history.units if unit.kind == NAME]
        self._name_mask = _mask(self._name_units)
        self._content_units: dict[int, list[Unit]] = {}
        for unit in history.units:
            if unit.kind != NAME:
                self._content_units.setdefault(unit.inode, []).append(unit)
        self._content_masks = {inode: _mask(units) for inode, units in self._content_units.items()}
        self._names: dict[int, Names] = {}
        self._same_names: dict[Names, Names] = {}
        self._paths: dict[
            int, int
        ] = {}  # of a list of names, which lives as long as this, the number of its paths
        self._same_paths: dict[tuple[str, ...], int] = {}
        self._contents: dict[tuple[int, int, int], bytes] = {}
        self._same_content: dict[bytes, bytes] = {}
        self._digests: dict[int, bytes] = {}
        self.content_bytes = 0

    def parts(self, applied: int, grown: int) -> tuple[Names, tuple[bytes | str | None, ...]]:
        """(names, their contents) of a tree; both hashable by identity, see `identity`."""
        names = self._names.get(applied & self._name_mask)
        if names is None:
            names = self._make_names(applied & self._name_mask)
        return names, tuple([self._content(inode, applied, grown) for _, inode in names])

    def identity(self, parts: tuple[Names, tuple[bytes | str | None, ...]]) -> tuple[int | str, ...]:
        """Equal for equal trees of this forest, and for no others, whichever files stand at the names."""
        names, contents = parts
        number = self._paths.get(id(names))
        if number is None:
            paths = tuple(path for path, _ in names)
            number = self._paths[id(names)] = self._same_paths.setdefault(paths, len(self._same_paths))
        return (number, *(content if isinstance(content, str) else id(content) for content in contents))

    def state(self, parts: tuple[Names, tuple[bytes | str | None, ...]], witness: Witness) -> State:
        names, contents = parts
        digest = hashlib.blake2b(digest_size=16)
        tree: dict[str, bytes | str | None] = {}
        for (path, _), content in zip(names, contents, strict=True):
            tree[path] = content
            digest.update(path.encode("utf-8", "surrogateescape") + b"\0" + self._digest(content))
        return State(key=digest.hexdigest(), witness=witness, tree=tree)

    def _digest(self, content: bytes | str | None) -> bytes:
        if not isinstance(content, bytes):
            return b"directory-------" if content is None else b"link" + content.encode()
        known = self._digests.get(id(content))
        if known is None:
            known = self._digests[id(content)] = hashlib.blake2b(content, digest_size=16).digest()
        return known

    def _content(self, inode: int, applied: int, grown: int) -> bytes | str | None:
        if inode in self.history.directories:
            return None
        if inode in self.history.links:
            return self.history.links[inode]
        mask = self._content_masks.get(inode, 0)
        key = (inode, applied & mask, grown & mask)
        content = self._contents.get(key)
        if content is None:
            made = self._make_content(*key)
            content = self._contents[key] = self._same_content.setdefault(made, made)
            if content is made:
                self.content_bytes += len(made)
        return content

    def _make_content(self, inode: int, applied: int, grown: int) -> bytes:
        content = bytearray(self.history.base.get(inode, b""))
        for unit in self._content_units.get(inode, ()):
            if unit.bit & applied:
                if unit.kind == TRUNCATE:
                    _resize(content, unit.stop)
                elif unit.kind == DATA:
                    if len(content) < unit.start:
                        _resize(content, unit.start)
                    content[unit.start : unit.stop] = unit.data
            elif unit.bit & grown and len(content) < unit.stop:
                _resize(content, unit.stop)
        return bytes(content)

    def _make_names(self, applied: int) -> Names:
        entries = dict(self.history.entries)
        for unit in self._name_units:
            if unit.bit & applied:
                for key in unit.removes:
                    entries.pop(key, None)
                entries.update(unit.sets)
        children: dict[int, list[tuple[str, int]]] = {}
        for (directory, name), inode in entries.items():
            children.setdefault(directory, []).append((name, inode))
        found: list[tuple[str, int]] = []
        waiting = [("", ROOT)]
        while waiting:
            prefix, directory = waiting.pop()
            for name, inode in children.get(directory, ()):
                path = f"{prefix}{name}"
                found.append((path, inode))
                # a directory under two names (a rename half lost) is shown under both, never within itself
                if inode in self.history.directories and path.count("/") < 64:
                    waiting.append((f"{path}/", inode))
        names = tuple(sorted(found))
        names = self._names[applied] = self._same_names.setdefault(names, names)
        return names


def _mask(units: list[Unit]) -> int:
    total = 0
    for unit in units:
        total |= unit.bit
    return total


def _resize(content: bytearray, size: int) -> None:
    if len(content) > size:
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))
