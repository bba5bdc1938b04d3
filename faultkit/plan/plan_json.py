"""Plans as JSON text: the shape of it, and every mistake in it told as one PlanError.

    {"faults": [{"point": "writer.write_data", "moment": "before", "ranks": "2", "calls": "1-",
                 "action": {"name": "raise", "exception": "OSError", "errno": "ENOSPC"}}]}

``moment``, ``ranks`` and ``calls`` may be left out; ``ranks`` may be an integer or a list of integers, ``calls`` an
integer. A fault may have a ``thread``, one of layer ``fs`` or ``http`` a ``path`` as well. Unknown and repeated keys
are errors, and so is more than `faultkit.plan.limits` allows. Text is UTF-8; it is written as ASCII, in one line. Not
covered: whether the values stand for a fault, which `faultkit.plan.Fault` checks.
By hand: msgspec lets a key stand twice, and says of an unknown one neither the nearest nor whose it is.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from faultkit.exceptions import PlanError
from faultkit.messages import listed, nearest, seen, shortened
from faultkit.plan.limits import JSON_CHARACTERS_MAX, require_count, require_length

__all__ = ["read_faults", "write_faults"]

REASON_LENGTH_MAX = 120

_FAULT_KEYS = ("point", "moment", "ranks", "calls", "action", "thread")
_FILE_KEYS = (*_FAULT_KEYS, "path")


def read_faults(text: str | bytes | bytearray) -> list[dict[str, Any]]:
    """The entries of ``faults``, each with known keys, a point and an action that is an object with a name.

    Raises PlanError for text that is not such JSON, TypeError for what is no text.
    """
    faults = _object(_value(text), "the plan", required=("faults",), known=("faults",))["faults"]
    if not isinstance(faults, list):
        raise PlanError(f"faultkit plan, JSON: 'faults' must be a list (got {seen(faults)})")
    require_count(len(faults))
    for index, entry in enumerate(faults):
        on_files = isinstance(entry, dict) and str(entry.get("point", "")).startswith(("fs.", "http."))
        known = _FILE_KEYS if on_files else _FAULT_KEYS
        fields = _object(entry, f"fault {index}", required=("point", "action"), known=known)
        _object(fields["action"], f"the action of fault {index}", required=("name",))
    return faults


def write_faults(faults: list[dict[str, Any]]) -> str:
    """The JSON text of such entries."""
    return json.dumps({"faults": faults})


def _value(text: object) -> object:
    if not isinstance(text, str | bytes | bytearray):
        raise TypeError(f"a plan as JSON must be str or bytes (got {seen(text)})")
    require_length(len(text), "faultkit plan, JSON:", JSON_CHARACTERS_MAX)
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(decoded, object_pairs_hook=_pairs, parse_constant=_constant)
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except json.JSONDecodeError as error:
        reason = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except RecursionError:
        reason = "nested too deeply"
    except ValueError as error:
        reason = shortened(str(error), REASON_LENGTH_MAX)
    raise PlanError(f"faultkit plan must be JSON (got {seen(text)}; {reason})")


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _object(
    value: object, what: str, *, required: Collection[str], known: Collection[str] = ()
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PlanError(f"faultkit plan, JSON: {what} must be an object (got {seen(value)})")
    for name in value:
        if known and name not in known:
            rule = f"keys are {listed(known)}{nearest(name, known)}"
            raise PlanError(f"faultkit plan, JSON: {what} has the unknown key {seen(name)}; {rule}")
    for name in required:
        if name not in value:
            raise PlanError(f"faultkit plan, JSON: {what} must have the key {name!r}")
    return value
