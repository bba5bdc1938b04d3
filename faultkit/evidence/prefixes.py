"""What stands before a line of a log: ranks, launchers' labels, times; any number of them in any order.

Guarantees: a line without any comes back as it is; every pattern looks at the beginning of the line alone and cannot
go back far, however long the line.  Not covered: what the line says (`faultkit.evidence.logs`).
"""

from __future__ import annotations

import datetime
import re

import msgspec

__all__ = ["Line", "strip"]

PREFIXES_MAX = 8
HEAD_CHARACTERS = 400

_RANK = re.compile(r"\[rank ?(\d{1,7})\]:? ?", re.IGNORECASE)
_NCCL_RANK = re.compile(r"\[Rank (\d{1,7})\] ")
_ROLE = re.compile(r"\[([A-Za-z_][\w.-]{0,60}?)(\d{1,5})\]: ?")
_LABEL = re.compile(r"(\d{1,7}):(?: |$)")
_ACTOR = re.compile(r"\((?:[\w.]{0,80} )?pid=(\d{1,9})(?:, ip=([0-9a-fA-F.:]{1,45}))?\) ?")
_GLOG = re.compile(r"([EWIF])(\d{2})(\d{2}) (\d{2}):(\d{2}):(\d{2})\.(\d{1,9}) +\d{1,9} [^\s\]]{1,200}\] ?")
_TORCH = re.compile(r"\[([EWIF])(\d{2}|\d)(\d{2}) (\d{2}):(\d{2}):(\d{2})\.(\d{1,9}) [^\]\s]{1,120}\] ?")
_TIME = re.compile(
    r"\[?(\d{4})-(\d{2})-(\d{2})[T _](\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?(?:Z|[+-]\d{2}:?\d{2})?\]?"
    r"(?: - | \||: |[ \t])?"
)
_LEVEL = re.compile(r"(?:[\w.-]{1,80} - )?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)(?: - |: |\s)")
_STREAM = re.compile(r"(?:stdout|stderr) [FP] ")  # of a container's log


class Line(msgspec.Struct, frozen=True):
    """A line without what stood before it.

    `rank` is the job's, `local_rank` that on its host, None where not told.  `key` is the same for all lines of one
    process where several are interleaved.
    """

    text: str
    rank: int | None = None
    local_rank: int | None = None
    seconds: float | None = None
    key: tuple[str, ...] = ()
    has_prefix: bool = False


def strip(raw: str) -> Line:
    """`raw`, a line without its end, cut into what it says and what stood before it."""
    text, rank, local, seconds = raw, None, None, None
    key: list[str] = []
    found = False
    for _ in range(PREFIXES_MAX):
        head = text[:1]
        if not head or (head not in "[(0123456789EWIFs" and not text[:HEAD_CHARACTERS].lstrip()[:1]):
            break
        match = _RANK.match(text)
        if match:
            rank = int(match[1]) if rank is None else rank
            key.append(f"rank{rank}")
        elif match := _ROLE.match(text):
            local = int(match[2])
            key.append(f"{match[1]}{match[2]}")
        elif match := _ACTOR.match(text):
            key.append(f"pid{match[1]}{match[2] or ''}")
        elif match := _TIME.match(text):
            seconds = _seconds(*(match[number] for number in range(1, 8)))
        elif match := _GLOG.match(text) or _TORCH.match(text):
            if seconds is None:
                seconds = _seconds("0", match[2], match[3], *(match[number] for number in range(4, 8)))
        elif match := _STREAM.match(text):
            pass
        elif (match := _LABEL.match(text)) and not key:
            rank = int(match[1]) if rank is None else rank
            key.append(f"label{match[1]}")
        elif found and (match := _LEVEL.match(text)):
            pass
        else:
            break
        found = True
        text = text[match.end() :]
    return Line(text.rstrip(), rank, local, seconds, tuple(dict.fromkeys(key)), found)


def _seconds(
    year: str, month: str, day: str, hour: str, minute: str, second: str, rest: str | None
) -> float | None:
    """Seconds since 1970 as if it were UTC, or since the beginning of a year that is not told; None for no time."""
    try:
        when = datetime.datetime(
            int(year) or 1972,
            int(month),
            int(day),
            int(hour),
            int(minute),
            min(int(second), 59),
            tzinfo=datetime.UTC,
        )
    except ValueError:
        return None
    return when.timestamp() + (float(f"0.{rest}") if rest else 0.0)
