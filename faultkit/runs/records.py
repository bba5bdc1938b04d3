"""The form of what a rank records: each record its length, its time, its kind and its data, one after the other.

Guarantees: reading ends before a record that is not whole.  Not covered: where records are kept
(`faultkit.processes.memory`), and what their kinds mean (`faultkit.runs.outcomes.Event`).
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

__all__ = ["RECORD", "records"]

RECORD = struct.Struct("=IQ")  # body length, time (ns, CLOCK_MONOTONIC)
_decode = msgspec.msgpack.Decoder().decode


def records(log: bytes) -> list[tuple[int, str, dict[str, Any]]]:
    """The records of a log: (time in ns of CLOCK_MONOTONIC, kind, data), in the order written."""
    found = []
    at = 0
    while at + RECORD.size <= len(log):
        length, time_ns = RECORD.unpack_from(log, at)
        start = at + RECORD.size
        if not length or start + length > len(log):  # one that the library is about to write
            break
        kind, data = _decode(log[start : start + length])
        found.append((time_ns, kind, data))
        at = start + length
    return found
