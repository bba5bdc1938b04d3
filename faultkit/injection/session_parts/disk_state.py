"""What the disk of one rank has left and had before: room for a full one, old versions for a stale one.

Nothing here touches a file.
"""

from __future__ import annotations

import threading

__all__ = ["Budget", "Versions"]

VERSION_BYTES_MAX = 256 << 20


class Budget:
    """The room that is left on a full disk, for each fault of a plan."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}
        self._lock = threading.Lock()

    def take(self, fault: int, room: int, wanted: int) -> int:
        """How many of `wanted` bytes still fit, which are then taken; `room` is what there was at first."""
        with self._lock:
            left = self._left.get(fault, room)
            taken = min(left, wanted)
            self._left[fault] = left - taken
            return taken


class Versions:
    """What the files of one rank held before: remembered where they are opened, replaced or removed."""

    def __init__(self) -> None:
        self._seen: dict[str, list[bytes]] = {}
        self._lock = threading.Lock()

    def remember(self, path: str, content: bytes | None) -> None:
        """`path` holds `content` now; None where it is no file, or too large to keep."""
        if content is None or len(content) > VERSION_BYTES_MAX:
            return
        with self._lock:
            seen = self._seen.setdefault(path, [])
            if not seen or seen[-1] != content:
                self._seen[path] = [*seen[-1:], content]

    def older(self, path: str, content: bytes) -> bytes | None:
        """The newest remembered version that is not `content`."""
        with self._lock:
            return next((one for one in reversed(self._seen.get(path, ())) if one != content), None)
