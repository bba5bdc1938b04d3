"""What a damaged disk or a full one makes of data: functions of bytes.

`altered` says what a reader then gets, `opened_view` what who opens the file then gets; `Writing` what a write then
does to the file, what it reports, and how it ends.  All say None where the action would change nothing, so that
nothing is then told to have fired.  An action is done by its entry in a table.  Nothing here touches a file.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from faultkit.plan.actions import Action

__all__ = ["ALTERING", "WRITING", "Writing", "altered", "opened_view", "part", "writing"]

_Room = Callable[[int], int]


def part(action: Action, length: int) -> int:
    """How much of `length` bytes an action leaves that takes a number of bytes: by default half, rounded up."""
    wanted = action.get("bytes")
    return (length + 1) // 2 if wanted is None else min(int(wanted), length)


def altered(action: Action, data: bytes) -> bytes | None:
    """What ``flip``, ``zero`` or ``cut`` makes of `data`; None where it makes no difference."""
    changed = bytearray(data)
    alter = ALTERING.get(action.name)
    if alter is not None:
        alter(action, changed)
    return None if changed == data else bytes(changed)


def opened_view(
    action: Action,
    content: bytes,
    older: Callable[[], bytes | None],
    content_of: Callable[[str], bytes | None],
) -> bytes | None:
    """What who opens a file of `content` then gets; None where it makes no difference.

    `older` gives the remembered version, `content_of` what the file beside it holds that the action names.
    """
    if action.spec.replaces != "version":
        return altered(action, content)
    given = action.get("path")
    old = older() if given is None else content_of(str(given))
    return old if old != content else None


def _flip(action: Action, data: bytearray) -> None:
    at = int(action.get("byte", len(data) // 2))  # type: ignore[arg-type]
    if at < len(data):
        data[at] ^= 1 << int(action["bit"])


def _zero(action: Action, data: bytearray) -> None:
    count = int(action["bytes"])
    start = int(action.get("start", max(0, (len(data) - count) // 2)))  # type: ignore[arg-type]
    data[start : start + count] = bytes(len(data[start : start + count]))


def _cut(action: Action, data: bytearray) -> None:
    del data[_kept(action, len(data)) :]


def _kept(action: Action, length: int) -> int:
    kept = action.get("bytes")
    return length // 2 if kept is None else int(kept)


ALTERING: dict[str, Callable[[Action, bytearray], None]] = {"flip": _flip, "zero": _zero, "cut": _cut}


class Writing(msgspec.Struct, frozen=True):
    """One write as an action makes it: `data` goes to the file, `count` is reported; then it may `end`.

    `lost` is how many bytes behind `data` are reported, and keep in the file what stood there before.  What `fills` the
    disk ends the next write, where some of this one still fit: who asks a file is told how much did.
    """

    data: memoryview
    count: int
    lost: int = 0
    ends: bool = False
    fills: bool = False


def writing(action: Action, data: memoryview, room: _Room) -> Writing | None:
    """What `action` makes of a write of `data`; `room` takes what a full disk still holds."""
    write = WRITING.get(action.name)
    if write is not None:
        return write(action, data, room)
    changed = altered(action, bytes(data))
    return None if changed is None else Writing(memoryview(changed), len(data))


def _write_until_full(action: Action, data: memoryview, room: _Room) -> Writing | None:
    fits = room(len(data))
    return None if fits == len(data) else Writing(data[:fits], fits, ends=True, fills=True)


def _write_short(action: Action, data: memoryview, room: _Room) -> Writing | None:
    count = max(1, part(action, len(data)))
    return None if count >= len(data) else Writing(data[:count], count)


def _write_torn(action: Action, data: memoryview, room: _Room) -> Writing | None:
    count = part(action, len(data))
    return Writing(data[:count], count, ends=True)


def _write_nothing(action: Action, data: memoryview, room: _Room) -> Writing | None:
    return Writing(data[:0], len(data), lost=len(data))


def _write_cut(action: Action, data: memoryview, room: _Room) -> Writing | None:
    count = _kept(action, len(data))
    return None if count >= len(data) else Writing(data[:count], len(data), lost=len(data) - count)


WRITING: dict[str, Callable[[Action, memoryview, _Room], Writing | None]] = {
    "full": _write_until_full,
    "short": _write_short,
    "torn": _write_torn,
    "lie": _write_nothing,
    "cut": _write_cut,
}
