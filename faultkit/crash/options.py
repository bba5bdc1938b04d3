"""The options of an exploration, checked before anything is recorded: subject, rule, what was seen, what is nearest.

`require` is for all who take them: `faultkit.crash.explore`, `faultkit.crash.scripts.explore`, the marker ``crash``.
Not covered: whether a scenario, a world or a recording does what it should.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from faultkit.crash.enumeration.bounds import Bound
from faultkit.crash.enumeration.crash_model import MODELS
from faultkit.messages import listed, nearest, shown

__all__ = ["OPTIONS", "require"]

WORKERS_MAX = 1024
TIMEOUT_SECONDS_MAX = 24 * 3600.0
SEED_MAX = 2**64 - 1
MEMORY_BYTES_MAX = 1 << 50
PATH_CHARACTERS_MAX = 4_000


def require(**given: Any) -> None:
    """Raises ValueError for the first of the options that cannot be meant."""
    for name, value in given.items():
        told = OPTIONS[name](value)
        if told:
            raise ValueError(f"explore: {name} must be {told}")


def _models(value: Any) -> str:
    rule = f"some of the models {listed(MODELS)}, as a tuple"
    if isinstance(value, str):
        near = f"; nearest is models=({value!r},)" if value in MODELS else nearest(value, MODELS)
        return f"{rule} (got {shown(value)}){near}"
    if not isinstance(value, tuple | list) or not value:
        return f"{rule} (got {shown(value)})"
    for one in value:
        if not isinstance(one, str) or one not in MODELS:
            return f"{rule} (got {shown(one)}){nearest(one, MODELS)}"
    return ""


def _bound(value: Any) -> str:
    if value is None or isinstance(value, Bound):
        return ""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    near = f"; nearest is Bound(lost={value})" if is_number and 0 <= value < 1 << 20 else ""
    return f"a faultkit.crash.Bound, or None (got {shown(value)}){near}"


def _seconds(most: float) -> Callable[[Any], str]:
    def told(value: Any) -> str:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and 0 < value <= most:  # which NaN is not
            return ""
        limit = f" and at most {most:g}" if most < math.inf else ""
        return f"a number of seconds above 0{limit} (got {shown(value)})"

    return told


def _number(least: int, most: int) -> Callable[[Any], str]:
    def told(value: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return ""
        return f"a whole number from {least} to {most} (got {shown(value)})"

    return told


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else f"True or False (got {shown(value)})"


def _function(value: Any) -> str:
    return "" if value is None or callable(value) else f"a function, or None (got {shown(value)})"


def _backend(value: Any) -> str:
    from faultkit.recording.recording import BACKENDS

    if value is None or (isinstance(value, str) and value in BACKENDS):
        return ""
    return f"one of {listed(BACKENDS)}, or None (got {shown(value)}){nearest(value, BACKENDS)}"


def _journal_path(value: Any) -> str:
    if value is None or (
        isinstance(value, str) and value and "\0" not in value and len(value) <= PATH_CHARACTERS_MAX
    ):
        return ""
    return f"the path of a file, or None (got {shown(value)})"


OPTIONS: dict[str, Callable[[Any], str]] = {
    "models": _models,
    "bound": _bound,
    "seed": _number(0, SEED_MAX),
    "budget_seconds": _seconds(math.inf),
    "workers": _number(1, WORKERS_MAX),
    "pruning": _flag,
    "timeout_seconds": _seconds(TIMEOUT_SECONDS_MAX),
    "memory_bytes": _number(1, MEMORY_BYTES_MAX),
    "backend": _backend,
    "on_progress": _function,
    "on_interrupt": _function,
    "journal_path": _journal_path,
}
