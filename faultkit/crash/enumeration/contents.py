"""What writes and truncations do to the contents of files: their sizes, and which bytes lie where the disk has a place.

A *stretch* is what is written to a file between two syncs or truncations of it; its data is cut in pieces together.
Bytes are *placed* where the file had them when they were written, and no hole: once those are on the disk, a write over
them changes no metadata, so that nothing makes it wait for the journal (ext4 with data=ordered and xfs write such data
back in place whenever they like).

Not covered: names (`faultkit.crash.enumeration.history`), holes punched, and files whose blocks are shared or
compressed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from faultkit.crash.enumeration.units import BLOCK_BYTES, cut, piece_edges

__all__ = ["Contents", "in_pieces"]

Span = tuple[int, int]


class _File:
    def __init__(self, size: int) -> None:
        self.size = size
        self.holes: list[Span] = []
        self.stretch = -1
        self.stretch_size = size  # at the start of the stretch


class Contents:
    """The files of a recording by number, as they are after the operations so far."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._stretch_count = 0

    def add(self, inode: int, size: int) -> None:
        """A file that is there with `size` bytes, all of them on the disk."""
        self._files[inode] = _File(size)

    def size(self, inode: int) -> int:
        """In bytes; 0 of what is no file."""
        return self._files[inode].size if inode in self._files else 0

    def truncate(self, inode: int, size: int) -> dict[str, Any]:
        """Fields of the unit."""
        file = self._file(inode)
        if size > file.size:
            file.holes.append((file.size, size))
        file.holes = [(low, min(high, size)) for low, high in file.holes if low < size]
        file.size, file.stretch = size, -1
        return {"inode": inode, "stop": size}

    def write(self, inode: int, start: int, data: bytes) -> dict[str, Any]:
        """Fields of the units, before they are cut; `size` and `there` are for `in_pieces`."""
        file = self._file(inode)
        if file.stretch < 0:
            self._stretch_count += 1
            file.stretch, file.stretch_size = self._stretch_count, file.size
        stop = start + len(data)
        there = (file.size, tuple(file.holes))
        if start > file.size:
            file.holes.append((file.size, start))
        holes: list[Span] = []
        for low, high in file.holes:
            holes += [(a, b) for a, b in ((low, min(high, start)), (max(low, stop), high)) if a < b]
        file.holes = holes
        file.size = max(file.size, stop)
        return {
            "inode": inode,
            "start": start,
            "stop": stop,
            "data": data,
            "stretch": file.stretch,
            "size": file.stretch_size,
            "there": there,
        }

    def sync(self, inode: int) -> None:
        """The content is on the disk."""
        self._file(inode).stretch = -1

    def sync_all(self) -> None:
        """That of every file is."""
        for inode in self._files:
            self.sync(inode)

    def _file(self, inode: int) -> _File:
        return self._files.setdefault(inode, _File(0))


def in_pieces(writes: list[dict[str, Any]], pieces: int) -> Iterable[list[dict[str, Any]]]:
    """For each write in turn the fields of its units: those of one stretch are cut at the same places.

    A write over the end that the file had before is cut there, since the two sides persist by different rules.
    """
    spans: dict[int, Span] = {}
    sizes: dict[int, int] = {}
    for values in writes:
        low, high = spans.get(values["stretch"], (values["start"], values["stop"]))
        spans[values["stretch"]] = (min(low, values["start"]), max(high, values["stop"]))
        sizes[values["stretch"]] = values["size"]
    edges = {}
    for stretch, (low, high) in spans.items():
        found = piece_edges(low, high, pieces, BLOCK_BYTES)
        edges[stretch] = sorted({*found, sizes[stretch]} if low < sizes[stretch] < high else found)
    for values in writes:
        size, holes = values["there"]
        parts = []
        kept = {name: value for name, value in values.items() if name not in ("size", "there")}
        for part in cut(kept, edges[values["stretch"]]):
            start, stop = part["start"], part["stop"]
            placed = stop <= size and not any(start < high and low < stop for low, high in holes)
            parts.append({**part, "grows": stop > values["size"], "placed": placed})
        yield parts
