"""Options that are one of a few words, and the one line that refuses another."""

from __future__ import annotations

from collections.abc import Sequence

from faultkit.messages import listed, nearest, seen

__all__ = ["refusal"]


def refusal(option: str, value: object, choices: Sequence[str]) -> str:
    """What is wrong with `value`; nothing where it is one of `choices`."""
    if value in choices:
        return ""
    return (
        f"{option} must be one of {listed(tuple(choices))} (got {seen(value)}){nearest(str(value), choices)}"
    )
