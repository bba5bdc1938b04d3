"""Growth in a terminal: a table of the slopes with their errors, a row for each measure, and what is a violation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultkit.checks.growth import MEASURES, Grown
from faultkit.checks.wording import name_ranks, wrapped
from faultkit.messages import columns

if TYPE_CHECKING:
    from faultkit.growth.measuring import Growth

__all__ = ["as_text"]


def as_text(growth: Growth) -> str:
    """The table, then every violation with its evidence."""
    ranks = f"{growth.world} rank{'s' * (growth.world != 1)}"
    parts = [
        f"{growth.scenario}: {growth.turns} {growth.turn}s in one life of {ranks}, {growth.kind}, torch {growth.torch}",
        "",
    ]
    rows = [[f"per {growth.turn}", "on", "slope", "floor", "at first", "at last", ""]]
    rows += [_row(same) for name in MEASURES for same in _by_text(growth, name)]
    head, *lines = columns(rows)
    parts += [head.rstrip(), "─" * max(map(len, (head, *lines))), *(line.rstrip() for line in lines), ""]
    for violation in growth.violations:
        parts += [wrapped(f"{violation.verdict} ({violation.check}): {violation.evidence}", "")]
    if growth.story:
        parts += ["", growth.story]
    if growth.held:
        parts.append("nothing grows beyond its error and its floor")
    parts.append(f"{growth.seconds:.1f} s")
    return "\n".join(parts)


def _by_text(growth: Growth, measure: str) -> list[list[Grown]]:
    """Ranks that tell the same of one measure together."""
    found: dict[tuple[str, bool], list[Grown]] = {}
    for one in growth.slopes:
        if one.measure == measure:
            found.setdefault((one.text, one.is_violation), []).append(one)
    return list(found.values())


def _row(same: list[Grown]) -> list[str]:
    first = same[0]
    measure = MEASURES[first.measure]
    number, _, words = first.text.partition(f" {'KiB of ' * measure.is_bytes}{measure.words}")
    unit = " KiB" * measure.is_bytes
    scale = 1024.0 if measure.is_bytes else 1.0
    return [
        measure.words + (" (bytes)" if first.measure == "file_bytes" else ""),
        name_ranks(one.rank for one in same),
        f"{number}{unit}{words}",
        f"{measure.floor / scale:g}{unit}",
        f"{first.first / scale:,.0f}{unit}",
        f"{first.last / scale:,.0f}{unit}",
        "LEAKED" if first.is_violation else "",
    ]
