"""`Bound`: how far an exploration goes, as a value that says itself in words.

Guarantees: every model explores a finite set, and `words` tells which.  What lies outside is not explored and
not counted.  Not covered: time, which is `budget_seconds` of an exploration; a set that was not finished in
time is told as incomplete.
"""

from __future__ import annotations

from typing import Any

import msgspec

from faultkit.exceptions import ArgumentError

__all__ = ["Bound"]


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What one exploration covers.

    Args:
        lost: at most so many operations that had not reached the disk are lost at a time, of those issued before
            the cut; None means every subset of them.
        kept: besides, everything that had not reached the disk is lost except at most so many operations: what a
            disk that reorders leaves.
        pieces: the un-synced data of one file is lost in at most so many pieces, cut at block boundaries: the first
            block, the last, and equal parts between.  Writes are cut in the same pieces where a process is killed.
            Besides, the last writes of a row are lost, whole, at so many places.
        cuts: more consistent cuts than this are not explored one by one but pairwise: every pair of threads at
            every pair of places, with all other threads as early, and as late, as the order allows.
            In `ordered` at most so many pairs of cuts are explored besides, of which the journal has come to the
            earlier and data over bytes that were there to the later; where there are more, some spread over all.
        subsets: with ``lost=None``, a cut with more subsets than this falls back to two lost and one kept.
        states: enumerated states of one model; where the estimate lies above, fewer operations are lost at a time.
        places: a row of writes of one thread to one file is cut at most at so many places where a process is killed.
        content_bytes: of all contents of files that are kept to tell trees apart and to load them; past that the
            exploration ends, and is told as incomplete.
    """

    lost: int | None = 2
    kept: int = 1
    pieces: int = 3
    cuts: int = 400
    subsets: int = 1 << 14
    states: int = 60_000
    places: int = 64
    content_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        rules: dict[str, tuple[Any, int]] = {
            "lost": (self.lost, 0),
            "kept": (self.kept, 0),
            "pieces": (self.pieces, 1),
            "cuts": (self.cuts, 1),
            "subsets": (self.subsets, 1),
            "states": (self.states, 1),
            "places": (self.places, 1),
            "content_bytes": (self.content_bytes, 1),
        }
        for name, (value, least) in rules.items():
            if name == "lost" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ArgumentError("Bound", f"{name} must be a number from {least} (got {value!r})")

    @classmethod
    def exhaustive(cls, pieces: int = 3) -> Bound:
        """Every subset of what had not reached the disk, at every cut, each write of a row: for short recordings.

        In `ordered` a piece that several writes went to may be there as any of them left it, of files with at most
        12 pieces of writes.
        """
        return cls(lost=None, pieces=pieces, cuts=1 << 20, states=1 << 30, subsets=1 << 20, places=1 << 20)
