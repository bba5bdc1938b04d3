"""The page of the runs of a test session: each with its plan, its verdict and what it broke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faultkit.report import crash_page, page
from faultkit.report.frame import render

__all__ = ["as_html"]


def as_html(
    runs: Sequence[Mapping[str, Any]], totals: Mapping[str, int], tallies: Mapping[str, Mapping[str, int]]
) -> str:
    """All runs as one page, complete in itself.

    runs: of each `verdict`, `test`, `plan`, `world`, `seconds` and `violations`.  totals: how many came to each
    verdict.  tallies: how many crash states, histories and the like came to what.
    """
    colours = crash_page.COLOURS | {str(verdict): colour for verdict, colour in page.COLOURS.items()}
    return render("runs.html", runs=runs, totals=totals, tallies=tallies, colours=colours)
