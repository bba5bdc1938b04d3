"""What to run again: read from the text of a plan, from a file, or from what a sweep has written.

    plan text     writer.write_data@2=raise(ValueError)           also as the content of a file
    plan JSON     {"faults": [...]}                                as FaultPlan.to_json writes it
    one result    {"plan": "...", ...}                             an entry of "plans" of a sweep's JSON
    a sweep       {"scenario", "world", "kind", "plans": [...]}    every plan of it, in its world

A file may be a pipe.  An empty one is none of these: what was to write it has failed.

Reading runs no code.  Raises PlanError, one line, for whatever is none of these.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from faultkit.exceptions import PlanError
from faultkit.messages import seen
from faultkit.plan import FaultPlan
from faultkit.runs.selection import ALL, Chosen
from faultkit.sweep.schedules import ScheduleChoice

__all__ = ["ReplayInput", "read_replay_input"]

FILE_BYTES_MAX = 256 << 20
NO_FAULT = '{"faults": []}'


class ReplayInput(msgspec.Struct, frozen=True):
    """One plan or more, each with its order where these are told, and what was remembered of how they ran."""

    plans: tuple[FaultPlan, ...]
    orders: tuple[ScheduleChoice, ...] = ()
    scenario: str | None = None
    world_size: int | None = None
    kind: str | None = None
    launcher: str | None = None
    ranks_differ: bool = False
    chosen: Chosen = ALL
    attempts_after: int = 0


def read_replay_input(plan_or_file: str, allow: Collection[str] = ()) -> ReplayInput:
    """What to replay: in the file of that name, on standard input (``-``), or else in the text itself."""
    if plan_or_file == "-":
        if sys.stdin is None:
            raise PlanError("standard input is closed; name a file, or write the plan")
        return _content(sys.stdin.buffer.read(FILE_BYTES_MAX + 1), "standard input", allow)
    try:
        path = Path(plan_or_file)
        is_file = path.exists() and not path.is_dir()  # a pipe is one, too
    except (OSError, ValueError):
        is_file = False
    if is_file:
        try:
            with path.open("rb") as file:
                return _content(file.read(FILE_BYTES_MAX + 1), plan_or_file, allow)
        except OSError as error:
            raise PlanError(f"{plan_or_file} cannot be read: {error.strerror}") from None
    if plan_or_file.strip() and "=" not in plan_or_file:
        raise PlanError(
            f"{seen(plan_or_file)} is neither a file nor a plan (point[:moment][@ranks][#calls]=action)"
        )
    return ReplayInput((FaultPlan.parse(plan_or_file, allow),))


def _content(content: bytes, where: str, allow: Collection[str]) -> ReplayInput:
    if len(content) > FILE_BYTES_MAX:
        raise PlanError(f"{where} is larger than {FILE_BYTES_MAX >> 20} MiB, which no plan file is")
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise PlanError(f"{where} is no text: byte {error.start} is not UTF-8") from None
    if not text:
        raise PlanError(
            f"{where} is empty; the plan that breaks nothing is written as '' or as a file with {NO_FAULT}"
        )
    if not text.startswith("{"):
        return ReplayInput((_plan(text, where, allow),))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{where} is neither a plan nor JSON: {error}") from None
    if "faults" in found:
        return ReplayInput((_plan_json(text, where, allow),))
    if "plan" in found:
        return ReplayInput((_entry(found, where, allow),), (_order(found, where),))
    if "plans" in found:
        return _sweep(found, where, allow)
    raise PlanError(
        f"{where} must be a plan (key 'faults'), a result ('plan') or a sweep ('plans'), and has none"
    )


def _sweep(found: dict[str, Any], where: str, allow: Collection[str]) -> ReplayInput:
    entries = found["plans"]
    if not isinstance(entries, list) or not entries:
        raise PlanError(f"{where}: 'plans' must be a list with at least one plan (got {seen(entries)})")
    types = {"scenario": str, "world": int, "kind": str, "launcher": str, "attempts_after": int}
    for key, kind in types.items():
        value = found.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise PlanError(f"{where}: {key!r} must be of type {kind.__name__} (got {seen(value)})")
    plans = tuple(_entry(entry, f"{where}, plan {index}", allow) for index, entry in enumerate(entries))
    orders = tuple(_order(entry, f"{where}, plan {index}") for index, entry in enumerate(entries))
    try:
        chosen = msgspec.convert(found.get("chosen", {}), Chosen)
    except (msgspec.ValidationError, ValueError) as error:
        raise PlanError(f"{where}: 'chosen' must name checks: {error}") from None
    remembered = {key: found.get(key) for key in ("scenario", "kind", "launcher")}
    after = found.get("attempts_after") or 0
    return ReplayInput(
        plans,
        orders,
        world_size=found.get("world"),
        ranks_differ=bool(found.get("ranks_differ")),
        chosen=chosen,
        attempts_after=after,
        **remembered,
    )


def _entry(entry: Any, where: str, allow: Collection[str]) -> FaultPlan:
    text = entry.get("plan") if isinstance(entry, dict) else None
    if not isinstance(text, str):
        raise PlanError(
            f"{where}: 'plan' must be the text of a plan (got {seen(entry if text is None else text)})"
        )
    return _plan(text, where, allow)


def _order(entry: dict[str, Any], where: str) -> ScheduleChoice:
    try:
        return msgspec.convert(
            {key: entry[key] for key in ("seed", "schedule") if key in entry}, ScheduleChoice
        )
    except msgspec.ValidationError as error:
        raise PlanError(f"{where}: seed must be a number and schedule a list of numbers ({error})") from None


def _plan(text: str, where: str, allow: Collection[str]) -> FaultPlan:
    try:
        return FaultPlan.parse(text, allow)
    except PlanError as error:
        _refuse(where, error)


def _plan_json(text: str, where: str, allow: Collection[str]) -> FaultPlan:
    try:
        return FaultPlan.from_json(text, allow)
    except PlanError as error:
        _refuse(where, error)


def _refuse(where: str, error: PlanError) -> NoReturn:
    raise PlanError(f"{where}: {error}") from None
