"""The page of a survey of damage: the table of regions and actions, then every damage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultkit.report.frame import render

if TYPE_CHECKING:
    from faultkit.damage import Survey

__all__ = ["as_html"]

COLOURS = {
    "WRONG": "#7a0016",
    "HUNG": "#b3261e",
    "DIED": "#b3261e",
    "noticed": "#2e7d32",
    "harmless": "#5f6068",
}


def as_html(survey: Survey) -> str:
    """The table and every damage as one page, complete in itself."""
    from faultkit.damage.outcomes import OUTCOMES
    from faultkit.damage.regions import KINDS

    def cell(kind: str, action: str) -> list[tuple[str, int]]:
        cases = survey.cell(kind, action)
        counts = [(word, sum(case.outcome == word for case in cases)) for word in OUTCOMES]
        return [(word, count) for word, count in counts if count]

    return render("damage.html", survey=survey, kinds=KINDS, outcomes=OUTCOMES, cell=cell, colours=COLOURS)
