"""Which keywords a function takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["parameters_of", "taken"]


def parameters_of(function: Callable[..., Any]) -> tuple[set[str], bool]:
    """(names that may be given as keywords, whether any may)."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set(), False
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters)


def taken(function: Callable[..., Any], keywords: Mapping[str, Any], given: int = 0) -> dict[str, Any]:
    """Those of `keywords` that `function` takes beside its first `given` arguments, which are given by their place.

    The name of one of these that can be given by its place alone means what ``**options`` takes.
    """
    names, anything = parameters_of(function)
    first = _given_by_place(function, given)
    return {
        name: value for name, value in keywords.items() if name not in first and (anything or name in names)
    }


def _given_by_place(function: Callable[..., Any], count: int) -> set[str]:
    """Those of the first `count` parameters that could be given by their name, too."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set()
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {p.name for p in by_place[:count] if p.kind is p.POSITIONAL_OR_KEYWORD}
