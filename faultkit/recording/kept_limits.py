"""How much a kept file may say in few bytes: the entries that it packs, the directories that names imply, and holes.

Guarantees: what would fill memory or a disk, of a file that says it shortly, is a ValueError before anything of that is
made; each limit is far above what is recorded.  The entries are counted in the packed bytes, without unpacking them.
Not covered: what the bytes mean, and contents that are really there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faultkit.recording.operations import Operation

__all__ = ["HOLE_BYTES_MAX", "require_few_entries", "require_few_places", "require_small_holes"]

ENTRY_COUNT_MAX = 4_000_000  # of msgpack, each key and each value for itself
PLACE_COUNT_MAX = 1_000_000
HOLE_BYTES_MAX = 64 << 20
NAME_LENGTH_MAX = 4096  # longer ones are refused each for itself

# By the first byte: how many bytes a length has, how many there are besides, and how many entries one is.
_LENGTHS = {
    0xC4: (1, 0, 0), 0xC5: (2, 0, 0), 0xC6: (4, 0, 0), 0xC7: (1, 1, 0), 0xC8: (2, 1, 0), 0xC9: (4, 1, 0),
    0xD9: (1, 0, 0), 0xDA: (2, 0, 0), 0xDB: (4, 0, 0), 0xDC: (2, 0, 1), 0xDD: (4, 0, 1), 0xDE: (2, 0, 2),
    0xDF: (4, 0, 2),
}  # fmt: skip
_SIZES = {
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip


def require_few_entries(packed: bytes) -> None:
    """Raise ValueError where `packed`, which is msgpack, has too many entries to be unpacked.

    What is no msgpack passes: whoever unpacks it says so.
    """
    place, left, end = 0, 1, len(packed)
    total = 1
    while left and place < end:
        first = packed[place]
        place += 1
        left -= 1
        inner = 0
        if first in _LENGTHS:
            size, more, each = _LENGTHS[first]
            length = int.from_bytes(packed[place : place + size], "big")
            place += size + (0 if each else length + more)
            inner = each * length
        elif first in _SIZES:
            place += _SIZES[first]
        elif 0xA0 <= first < 0xC0:  # a short text
            place += first & 0x1F
        elif 0x80 <= first < 0xA0:  # a short map, or a short array
            inner = (first & 0x0F) << (first < 0x90)
        left += inner
        total += inner
        if total > ENTRY_COUNT_MAX:
            raise ValueError(f"it must hold at most {ENTRY_COUNT_MAX} entries")


def require_few_places(names: Iterable[str]) -> None:
    """Raise ValueError where `names` imply too many directories: one of 4 kB can be a thousand deep."""
    if sum(name.count("/", 0, NAME_LENGTH_MAX) + 1 for name in names) > PLACE_COUNT_MAX:
        raise ValueError(f"its names must come to at most {PLACE_COUNT_MAX} directories and files")


def require_small_holes(operations: Iterable[Operation], before_bytes: int) -> None:
    """Raise ValueError where files grow far beyond what `operations` write and the `before_bytes` that were there."""
    sizes: dict[int | str, int] = {}
    held = before_bytes
    for operation in operations:
        if operation.kind not in ("write", "truncate"):
            continue
        held += len(operation.data)
        key = operation.file if operation.file >= 0 else operation.path
        sizes[key] = max(sizes.get(key, 0), operation.offset + len(operation.data))
    if (holes := sum(sizes.values()) - held) > HOLE_BYTES_MAX:
        raise ValueError(
            f"files must have at most {HOLE_BYTES_MAX >> 20} MiB that nobody wrote (got {holes >> 20})"
        )
