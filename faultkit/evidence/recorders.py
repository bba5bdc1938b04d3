"""Dumps of flight recorders, of NCCL and of gloo, as pickle or JSON, into values.

Guarantees: a pickle is read by an unpickler that allows no global at all, so that no code runs; numbers that are text,
keys that do not fit and fields that are missing are taken as they come.  Not covered: what follows from several dumps
(`faultkit.evidence.telling`).
"""

from __future__ import annotations

import io
import json
import pickle
import re
from typing import Any, NoReturn

from faultkit.evidence.values import Entry, Frame, Origin, Recorder

__all__ = ["NotARecorder", "read_dump", "recorder_of"]

FRAMES_MAX = 64
ENTRIES_MAX = 200_000
_NUMBER = re.compile(r"(\d{1,7})(?!.*\d)")


class NotARecorder(ValueError):
    """It is no dump of a flight recorder."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise NotARecorder(f"a pickle that names {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise NotARecorder("a pickle with references to something outside")


def read_dump(data: bytes) -> Any:
    """The dump in `data`.  Raises NotARecorder."""
    try:
        found = json.loads(data) if data.lstrip()[:1] in (b"{", b"[") else _Unpickler(io.BytesIO(data)).load()
    except NotARecorder:
        raise
    except Exception as error:
        raise NotARecorder(f"neither pickle nor JSON ({type(error).__name__})") from None
    if not isinstance(found, dict) or not isinstance(found.get("entries"), list):
        raise NotARecorder("no entries in it")
    return found


def recorder_of(found: dict[str, Any], file: str, name: str) -> Recorder:
    """The values of a dump; the rank is that in the file's `name`.  Raises NotARecorder where it has none."""
    match = _NUMBER.search(name.rpartition("/")[2].removesuffix(".json"))
    rank = _whole(found.get("rank"), int(match[1]) if match else -1)
    if rank < 0:
        raise NotARecorder(f"no rank in its name ({name!r})")
    config = found.get("pg_config")
    config = config if isinstance(config, dict) else {}
    groups: dict[str, tuple[int, ...]] = {}
    for key, told in config.items():
        if isinstance(told, dict):
            groups[_group(str(told.get("name", key)), str(told.get("desc", "")))] = _ranks(told.get("ranks"))
    whole = max(groups.values(), key=len, default=())
    status = found.get("pg_status")
    status = status if isinstance(status, dict) else {}
    entries: list[Entry] = []
    enqueued: dict[str, int] = {}
    for told in found["entries"][:ENTRIES_MAX]:
        if not isinstance(told, dict):
            continue
        entry = _entry(told, groups, whole)
        entries.append(entry)
        of_status = status.get(str(told.get("pg_id")), status.get(told.get("pg_id")))
        last = _whole(of_status.get("last_enqueued_collective"), -1) if isinstance(of_status, dict) else -1
        if not entry.is_between_two:
            enqueued[entry.group] = max(enqueued.get(entry.group, -1), last, entry.sequence)
    return Recorder(rank, Origin(file), tuple(entries), enqueued, groups)


def _entry(told: dict[str, Any], groups: dict[str, tuple[int, ...]], whole: tuple[int, ...]) -> Entry:
    named = told.get("process_group")
    name, desc = (
        (str(part) for part in (*named, "", "")[:2]) if isinstance(named, list | tuple) else (str(named), "")
    )
    group = _group(name, desc)
    members = groups.get(group, ())
    if not members:
        members = next((found for key, found in groups.items() if desc and key.endswith(f"/{desc}")), ())
    if not members and (desc == "default_pg" or len(groups) == 1):
        members = whole
    state = str(told.get("state", ""))
    frames = told.get("frames")
    return Entry(
        group=f"{desc or name}{list(members)}" if members else group,
        members=members,
        sequence=_whole(told.get("collective_seq_id"), -1),
        operation=str(told.get("profiling_name", "")),
        is_done=bool(told.get("retired")) or state == "completed",
        created_ns=_whole(told.get("time_created_ns"), 0),
        is_between_two=bool(told.get("is_p2p")),
        frames=tuple(
            Frame(str(one.get("filename", "")), _whole(one.get("line"), 0), str(one.get("name", "")))
            for one in (frames[:FRAMES_MAX] if isinstance(frames, list) else ())
            if isinstance(one, dict)
        ),
    )


def _group(name: str, desc: str) -> str:
    return f"{name}/{desc}"


def _ranks(told: Any) -> tuple[int, ...]:
    if isinstance(told, str):
        return tuple(int(number) for number in re.findall(r"\d{1,7}", told[:2_000_000]))
    return tuple(_whole(one, -1) for one in told) if isinstance(told, list | tuple) else ()


def _whole(value: Any, otherwise: int) -> int:
    if isinstance(value, bool):
        return otherwise
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 20:
        return int(value)
    return otherwise
