"""Ranks and calls as numbers: the bounds, and spans of them as canonical text.

Canonical text is spans in ascending order, those that touch or overlap as one: ``"1,3-5"``; an open end is
``"2-"``.  Spans are never expanded, so ``0-999999`` costs what ``0`` costs.  Reading what people write is
done in `faultkit.plan.grammar`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from faultkit.exceptions import PlanError
from faultkit.messages import seen

__all__ = ["CALL_MAX", "RANK_MAX", "bounded", "call_text", "holds", "merged", "ranks_text", "spans_of"]

RANK_MAX = 1_000_000
CALL_MAX = 1_000_000_000


def merged(spans: Iterable[tuple[int, int]]) -> str:
    """Spans, both ends included, as canonical text."""
    joined: list[list[int]] = []
    for low, high in sorted(spans):
        if joined and low <= joined[-1][1] + 1:
            joined[-1][1] = max(joined[-1][1], high)
        else:
            joined.append([low, high])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in joined)


@functools.lru_cache(maxsize=1024)
def spans_of(canonical: str) -> tuple[tuple[int, float], ...]:
    """The spans of canonical text; an open end is infinity."""
    spans: list[tuple[int, float]] = []
    for span in canonical.split(","):
        low, dash, high = span.partition("-")
        spans.append((int(low), int(high) if high else float("inf") if dash else int(low)))
    return tuple(spans)


def holds(canonical: str, number: int) -> bool:
    """Whether `number` is in the spans of canonical text."""
    return any(low <= number <= high for low, high in spans_of(canonical))


def ranks_text(ranks: object) -> str:
    """One rank, or ranks in any order, as canonical text.

    Raises PlanError for no rank and for one out of bounds, TypeError for what is no integer.
    """
    if isinstance(ranks, Iterable) and not isinstance(ranks, str | bytes | bytearray | Mapping):
        numbers = [_rank(rank) for rank in bounded(ranks)]
        if not numbers:
            raise PlanError("ranks must name at least one rank (got none); did you mean '*'?")
        return merged((rank, rank) for rank in numbers)
    return str(_rank(ranks))


def call_text(call: object) -> str:
    """The number of one call as canonical text.  Raises PlanError, TypeError."""
    return str(_integer(call, "calls must be text or", 1, CALL_MAX))


def bounded(ranks: Iterable[Any]) -> Iterator[Any]:
    """The given ranks, as long as they are not more than there can be.  Raises PlanError."""
    for count, rank in enumerate(ranks):
        if count > RANK_MAX:
            raise PlanError(f"ranks must be at most {RANK_MAX + 1} numbers (got more)")
        yield rank


def _rank(rank: object) -> int:
    return _integer(rank, "a rank must be", 0, RANK_MAX)


def _integer(value: Any, rule: str, minimum: int, maximum: int) -> int:
    message = f"{rule} an integer from {minimum} to {maximum} (got {seen(value)})"
    if isinstance(value, bool):
        raise TypeError(message)
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(message) from None
    if not minimum <= number <= maximum:
        raise PlanError(message)
    return number
