"""The page of a sweep: one HTML file without anything from outside, and the picture beside it.

The matrix stands first; every cell leads to what happened there: the evidence, the whole story, and the
command that runs that plan again.  Below it every plan with its seconds.  The page works without scripts; a
few lines of script only open what a cell leads to.
"""

from __future__ import annotations

from pathlib import Path

from faultkit.checks import Verdict
from faultkit.report.frame import render
from faultkit.report.matrix import groups_of, matrix_of, meaning_in
from faultkit.report.terminal import as_svg
from faultkit.sweep.results import Journal
from faultkit.whole_files import write_whole

__all__ = ["as_html", "write_report"]

# One hue for each kind of harm, dark enough for white text.
COLOURS = {
    Verdict.SILENT_WRONG: "#7a0016",
    Verdict.LOST_WORK: "#7a0016",
    Verdict.HUNG: "#b3261e",
    Verdict.DIED: "#b3261e",
    Verdict.PARTIAL: "#8e3a9d",
    Verdict.MISATTRIBUTED: "#6d4bb5",
    Verdict.MASKED: "#9a6200",
    Verdict.LATE: "#9a6200",
    Verdict.LEAKED: "#9a6200",
    Verdict.UNUSABLE: "#b3261e",
    Verdict.INERT: "#006a78",
    Verdict.HELD: "#2e7d32",
}


def as_html(journal: Journal) -> str:
    """The page as text."""
    numbers = {id(result): number for number, result in enumerate(journal.results, start=1)}
    return render(
        "sweep.html",
        journal=journal,
        matrix=matrix_of(journal),
        groups=groups_of(journal),
        number_of=lambda result: numbers[id(result)],
        colours={str(verdict): colour for verdict, colour in COLOURS.items()},
        verdicts={verdict: meaning_in(journal, verdict) for verdict in map(Verdict, journal.totals)},
        seconds_max=max((result.seconds for result in journal.results), default=0.0) or 1.0,
        fired_count=sum(len(result.fired) for result in journal.results),
    )


def write_report(journal: Journal, path: str | Path) -> None:
    """Write the page, or the picture where `path` ends with ``.svg``.  Raises OSError."""
    text = as_svg(journal) if str(path).lower().endswith(".svg") else as_html(journal)
    write_whole(path, text)
