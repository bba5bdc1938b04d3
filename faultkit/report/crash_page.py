"""The page of an exploration of crashes: counts of each model, then every violation with its story."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultkit.report.frame import render

if TYPE_CHECKING:
    from faultkit.crash import Exploration

__all__ = ["as_html"]

# One hue for each kind of harm, dark enough for white text.
COLOURS = {
    "MIX": "#7a0016",
    "GARBAGE": "#7a0016",
    "HUNG": "#b3261e",
    "DIED": "#b3261e",
    "ERROR": "#b3261e",
    "ABSENT": "#8e3a9d",
    "OLD": "#9a6200",
    "NEW": "#9a6200",
}


def as_html(found: Exploration) -> str:
    """The page as text."""
    return render("crash.html", found=found, colours=COLOURS)
