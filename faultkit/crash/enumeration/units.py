"""What a crash may keep or lose, one bit each: `Unit`, and the `History` that a recording's units make.

A unit is the smallest thing that a model keeps or loses whole: one change of names (a file or directory made,
renamed, linked, removed), one truncation, or one piece of one write.  Not covered: reading them from a recording
(`faultkit.crash.enumeration.history`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

__all__ = [
    "BLOCK_BYTES",
    "DATA",
    "NAME",
    "ROOT",
    "TRUNCATE",
    "History",
    "Key",
    "Touch",
    "Unit",
    "cut",
    "piece_edges",
]

NAME, TRUNCATE, DATA = "name", "truncate", "data"
ROOT = 0
BLOCK_BYTES = 4096  # of a page and of a block, whatever buffer the recording was made with

Key = tuple[int, str]  # an entry: (directory, name)


class Unit(msgspec.Struct, frozen=True):
    """One bit.  `number` is the bit, `operation` the index of the operation in the recording.

    NAME: `inode` is the file concerned, `sets` and `removes` are entries.  TRUNCATE: `stop` is the new size.
    DATA: bytes `start` to `stop` of the file, `piece` counts the pieces of one stretch of un-synced writes;
    `grows` where they lie past the size that the file had before the stretch; `placed` where the file had bytes there
    already (`faultkit.crash.enumeration.contents`).
    """

    number: int
    operation: int
    kind: str
    inode: int
    sets: tuple[tuple[Key, int], ...] = ()
    removes: tuple[Key, ...] = ()
    start: int = 0
    stop: int = 0
    piece: int = 0
    stretch: int = 0
    grows: bool = False
    placed: bool = False
    data: bytes = b""

    @property
    def bit(self) -> int:
        return 1 << self.number


class Touch(msgspec.Struct, frozen=True):
    """What an operation used: entries read and changed on the way, and the file whose content it is about.

    content: what it does with that: "read" (opened to be read), "write" of the bytes from `start` to `stop` through
    `handle`, "whole" (made, cut or appended to), "sync" (waited for), "" nothing that hangs on an order.
    """

    reads: tuple[Key, ...] = ()
    writes: tuple[Key, ...] = ()
    inode: int = -1
    sync: str = ""  # what of it waits for the disk: "file", "data" (and what is needed to read it), "directory", "all"
    content: str = ""
    start: int = 0
    stop: int = 0
    handle: int = -1


class History(msgspec.Struct):
    """The units of a recording and what they start from.

    units: in order.  of_operation: index of an operation -> mask of its units.  touches: index -> what it used.
    base: content of each file at the start.  entries: what each entry was at the start.  links: text of symbolic
    links.  directories: which files are directories.  skipped: indices whose file could not be found out.
    """

    units: list[Unit]
    of_operation: dict[int, int]
    touches: dict[int, Touch]
    base: dict[int, bytes]
    entries: dict[Key, int]
    links: dict[int, str]
    directories: set[int]
    skipped: list[int]

    def mask(self, operations: Iterable[int]) -> int:
        total = 0
        for index in operations:
            total |= self.of_operation.get(index, 0)
        return total


def piece_edges(low: int, high: int, pieces: int, block: int) -> list[int]:
    """Where to cut the bytes from `low` to `high`: at block boundaries, the first and the last block apart.

    Data within one block is still cut once in the middle: a disk writes sectors, not blocks.
    """
    if pieces == 1:
        return []
    inner = list(range((low // block + 1) * block, high, block))
    if not inner:
        middle = (low + high) // 2
        return [middle] if middle > low else []
    if len(inner) < pieces:
        return inner
    if pieces == 2:
        return [inner[-1]]
    between = [inner[round(step * (len(inner) - 1) / (pieces - 2))] for step in range(pieces - 1)]
    return sorted(set(between))


def cut(values: dict[str, Any], edges: list[int]) -> Iterable[dict[str, Any]]:
    """The parts of one write, as the arguments of their units."""
    start, stop, data = values["start"], values["stop"], values["data"]
    inside = [edge for edge in edges if start < edge < stop]
    for low, high in zip([start, *inside], [*inside, stop], strict=True):
        piece = sum(1 for edge in edges if edge <= low)
        yield {**values, "start": low, "stop": high, "data": data[low - start : high - start], "piece": piece}
