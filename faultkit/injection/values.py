"""What a call gives is another value than it should be: less, nothing, an earlier one, or two parts exchanged.

Guarantees: the call itself is made as it is; who made it gets a copy that differs in what the action says, and the
original is not touched.  In a future it is the value that the future completes with.  A plan, metadata and the results
of a write are known by their fields: ``swap(offsets)`` of metadata exchanges where two entries of a file begin.  Where
there is nothing to change (too few items, no earlier call, parts that are equal) the fault does not fire, and the
session records once why.  Not covered: objects that are none of these, streams, and data of files
(`faultkit.injection.files`).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from faultkit.injection.session import Calls, Match, Session
from faultkit.plan.actions import Action
from faultkit.state_values import differences

__all__ = ["change_of"]

Change = Callable[[Any], Any]

PAIRS_MAX = 2_000  # of parts that are looked at for two to exchange
_CONSTANTS = {"None": None, "False": False, "True": True}
_FIELDS = {  # where an element of a plan, a result or an entry of metadata has it
    "names": ("index", "dest_index"),
    "offsets": ("storage_data.offset", "storage_offsets", "tensor_data.chunk.offsets", "offset"),
    "sizes": ("storage_data.length", "lengths", "tensor_data.size", "size", "length"),
}


class _Unchanged(Exception):
    """There is nothing to change; the message says why."""


def change_of(session: Session, calls: Calls) -> Change | None:
    """What the plan makes of the value that these calls give; None where it leaves it alone."""
    matches = [match for match in session.matching(calls, "before") if match[1].action.alters_value]
    kept = [site for site, _ in calls if site in session.planned.keeps_given]
    if not matches and not kept:
        return None
    steps = [session.step_of(match[1]) for match in matches]

    def change(value: Any) -> Any:
        given = value
        for match, step in zip(matches, steps, strict=True):
            value = _altered(session, match, value, step)
        for site in kept:
            session.given[site] = _copied(given)
        return value

    return change


def _altered(session: Session, match: Match, value: Any, step: str | None) -> Any:
    index, fault, site, _ = match
    action = fault.action
    try:
        if action.spec.replaces == "earlier value":
            changed = _earlier(session, site, value)
        else:
            changed = ALTERATIONS[action.name](value, action)
    except _Unchanged as nothing:
        if index not in session.told:
            session.told.add(index)
            session.record("refused", fault=index, point=fault.point, path="", why=str(nothing))
        return value
    session.record_fired(match, step)
    return changed


# -- less, nothing, earlier ------------------------------------------------------------------------


def _shorten(value: Any, action: Action) -> Any:
    count = int(action["count"])
    shorter = _without_last(value, count)
    if shorter is None:
        raise _Unchanged(f"{_kind(value)} has no items that could be missing")
    return shorter


def _without_last(value: Any, count: int) -> Any:
    if isinstance(value, Mapping):
        return type(value)(list(value.items())[:-count]) if value else None  # type: ignore[call-arg]
    if isinstance(value, (str, bytes, bytearray, list)):
        return value[:-count] if value else None
    if isinstance(value, tuple):
        return _first_part(value, lambda part: _without_last(part, count)) or value[:-count] or None
    if isinstance(value, (set, frozenset)):
        return type(value)(list(value)[:-count]) if value else None
    for field in ("items", "state_dict_metadata"):  # of a plan, of metadata
        inner = vars(value).get(field) if hasattr(value, "__dict__") else None
        if inner:
            return _with(value, field, _without_last(inner, count))
    if getattr(value, "shape", None):
        return value[: max(0, len(value) - count)] if len(value) else None
    return None


def _returns(value: Any, action: Action) -> Any:
    constant = _CONSTANTS[str(action["value"])]
    if value is constant:
        raise _Unchanged(f"it gave {constant} anyway")
    return constant


def _earlier(session: Session, site: str, value: Any) -> Any:
    if site not in session.given:
        raise _Unchanged("no call before it had given anything that could be kept")
    before = session.given[site]
    if not _differ(before, value):
        raise _Unchanged("the call before had given the same")
    return _copied(before)


def _copied(value: Any) -> Any:
    """A copy that stays as it is, for what can be copied; it is else the thing itself."""
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


# -- two parts exchanged ---------------------------------------------------------------------------


def _swap(value: Any, action: Action) -> Any:
    what = str(action["what"])
    swapped = _swapped(value, what)
    if swapped is None:
        raise _Unchanged(f"{_kind(value)} has no two {what} that differ")
    return swapped


def _swapped(value: Any, what: str) -> Any:
    """A copy with two parts exchanged, None where there are no two."""
    if _is_metadata(value):
        return _swapped_metadata(value, what)
    if isinstance(value, Mapping):
        if what in ("items", "names"):
            return _exchanged_values(value)
        return _elements_exchanged(value, what)
    if isinstance(value, list):
        exchanged = _exchanged_values(dict(enumerate(value))) if what == "items" else None
        if exchanged is not None:
            return list(exchanged.values())
        found = _elements_exchanged(dict(enumerate(value)), what) if what != "items" else None
        return list(found.values()) if found is not None else _first_part(value, lambda p: _swapped(p, what))
    if isinstance(value, tuple):  # such as the plans of all ranks with their metadata
        found = _first_part(
            value, lambda part: _swapped(part, what) if _is_metadata(part) != (what == "items") else None
        )
        return found if found is not None else _first_part(value, lambda part: _swapped(part, what))
    items = vars(value).get("items") if hasattr(value, "__dict__") else None
    if items:
        found = _swapped(list(items), what)
        return None if found is None else _with(value, "items", found)
    if what == "items" and getattr(value, "shape", None):
        return _swapped_rows(value)
    return None


def _is_metadata(value: Any) -> bool:
    return hasattr(value, "state_dict_metadata")


def _swapped_metadata(value: Any, what: str) -> Any:
    """Names and offsets are of what is stored, sizes of the tensors, or else of what is stored."""
    fields = ("storage_data", "state_dict_metadata")
    for field in fields if what != "sizes" else reversed(fields):
        entries = getattr(value, field, None)
        if isinstance(entries, Mapping):
            whole = what in ("items", "names")
            found = _exchanged_values(entries) if whole else _elements_exchanged(entries, what)
            if found is not None:
                return _with(value, field, found)
    return None


def _exchanged_values(entries: Mapping[Any, Any]) -> Any:
    """The entries, two values exchanged: the first two that differ and are alike, else the first that differ."""
    for wanted in (_alike, lambda one, other: True):
        for one, other in itertools.islice(itertools.combinations(entries, 2), PAIRS_MAX):
            if wanted(entries[one], entries[other]) and _differ(entries[one], entries[other]):
                return _replaced(entries, {one: entries[other], other: entries[one]})
    return None


def _elements_exchanged(entries: Mapping[Any, Any], what: str) -> Any:
    """The entries, of two of which one field is exchanged."""
    for path in _FIELDS.get(what, ()):
        having = {key: found for key, value in entries.items() if (found := _at(value, path)) is not None}
        for one, other in itertools.islice(itertools.combinations(having, 2), PAIRS_MAX):
            if having[one] != having[other] and type(having[one]) is type(having[other]):
                pair = {
                    one: _set(entries[one], path, having[other]),
                    other: _set(entries[other], path, having[one]),
                }
                return _replaced(entries, pair)
    return None


def _swapped_rows(tensor: Any) -> Any:
    for one, other in itertools.islice(itertools.combinations(range(len(tensor)), 2), PAIRS_MAX):
        if _differ(tensor[one], tensor[other]):
            swapped = copy.deepcopy(tensor.detach() if hasattr(tensor, "detach") else tensor)
            swapped[one], swapped[other] = tensor[other], tensor[one]
            return swapped
    return None


# -- parts of values -------------------------------------------------------------------------------


def _first_part(parts: Iterable[Any], change: Callable[[Any], Any]) -> Any:
    """The sequence with the first of its parts changed that can be; None where none can."""
    parts = parts if isinstance(parts, tuple) else list(parts)
    for place, part in enumerate(parts):
        changed = change(part)
        if changed is not None:
            return (*parts[:place], changed, *parts[place + 1 :]) if isinstance(parts, tuple) else [
                *parts[:place], changed, *parts[place + 1 :]
            ]  # fmt: skip
    return None


def _replaced(entries: Mapping[Any, Any], pair: dict[Any, Any]) -> Any:
    made = {key: pair.get(key, value) for key, value in entries.items()}
    return made if type(entries) is dict else type(entries)(made)  # type: ignore[call-arg]


def _with(value: Any, field: str, part: Any) -> Any:
    """A copy with another part, also of what is frozen."""
    made = copy.copy(value)
    object.__setattr__(made, field, part)
    return made


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = getattr(value, name, None)
        if value is None or callable(value):
            return None
    return value


def _set(value: Any, path: str, part: Any) -> Any:
    name, _, rest = path.partition(".")
    return _with(value, name, _set(getattr(value, name), rest, part) if rest else part)


def _alike(one: Any, other: Any) -> bool:
    """Whether one could stand where the other does: of the same type, shape and length."""
    shapes = [
        tuple(shape) if (shape := getattr(v, "shape", None)) is not None else None for v in (one, other)
    ]
    lengths = [getattr(value, "length", None) for value in (one, other)]
    return type(one) is type(other) and shapes[0] == shapes[1] and lengths[0] == lengths[1]


def _differ(one: Any, other: Any) -> bool:
    return one is not other and bool(differences(one, other))


def _kind(value: Any) -> str:
    return f"what it gave, of type {type(value).__name__}," if value is not None else "None, which it gave,"


ALTERATIONS: dict[str, Callable[[Any, Action], Any]] = {
    "returns": _returns,
    "shorten": _shorten,
    "swap": _swap,
}
