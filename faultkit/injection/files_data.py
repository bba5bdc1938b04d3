"""What a damaged disk or a full one makes of data: functions of bytes, and the memory of old versions.

`altered` says what a reader then gets; `Writing` what a write then does to the file, what it reports, and how it
ends.  Both say None where the action would change nothing, so that nothing is then told to have fired.  Nothing
here touches a file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from faultkit.plan.actions import Action

__all__ = ["Budget", "Versions", "Writing", "altered", "part", "writing"]

VERSION_BYTES_MAX = 256 << 20


def part(action: Action, length: int) -> int:
    """How much of `length` bytes an action leaves that takes a number of bytes: by default half, rounded up."""
    wanted = action.get("bytes")
    return (length + 1) // 2 if wanted is None else min(int(wanted), length)


def altered(action: Action, data: bytes) -> bytes | None:
    """What ``flip``, ``zero`` or ``cut`` makes of `data`; None where it makes no difference."""
    length = len(data)
    changed = bytearray(data)
    if action.name == "flip":
        at = int(action.get("byte", length // 2))  # type: ignore[arg-type]
        if at >= length:
            return None
        changed[at] ^= 1 << int(action["bit"])
    elif action.name == "zero":
        count = int(action["bytes"])
        start = int(action.get("start", max(0, (length - count) // 2)))  # type: ignore[arg-type]
        changed[start : start + count] = bytes(len(changed[start : start + count]))
    elif action.name == "cut":
        kept = action.get("bytes")
        del changed[length // 2 if kept is None else int(kept) :]
    return None if changed == data else bytes(changed)


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


class Writing(msgspec.Struct, frozen=True):
    """One write as an action makes it: `data` goes to the file, `count` is reported; then it may `end`.

    `lost` is how many bytes behind `data` are reported, and keep in the file what stood there before.
    """

    data: memoryview
    count: int
    lost: int = 0
    ends: bool = False


def writing(action: Action, data: memoryview, room: Callable[[int], int]) -> Writing | None:
    """What `action` makes of a write of `data`; `room` takes what a full disk still holds."""
    length = len(data)
    match action.name:
        case "full":
            fits = room(length)
            return None if fits == length else Writing(data[:fits], fits, ends=True)
        case "short":
            count = max(1, part(action, length))
            return None if count >= length else Writing(data[:count], count)
        case "torn":
            count = part(action, length)
            return Writing(data[:count], count, ends=True)
        case "lie":
            return Writing(data[:0], length, lost=length)
        case "cut":
            kept = action.get("bytes")
            count = length // 2 if kept is None else int(kept)
            return None if count >= length else Writing(data[:count], length, lost=length - count)
    changed = altered(action, bytes(data))
    return None if changed is None else Writing(memoryview(changed), length)


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
