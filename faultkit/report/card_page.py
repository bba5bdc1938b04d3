"""A report card as a page and as a badge, each one file with nothing from outside.

Guarantees: what a checkpointer, a rank or a file said stays text (`faultkit.report.explorer`).  Not covered: the
text for a terminal (`faultkit.report.card`).
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from faultkit.checks import Verdict
from faultkit.report import explorer
from faultkit.report.explorer import Explorer, Item
from faultkit.report.made import made_here

if TYPE_CHECKING:
    from faultkit.conformance.card import ReportCard

__all__ = ["as_badge", "as_html"]

KEPT, OPEN, QUIET, BROKEN, WORST = "#2d6a4f", "#9a6200", "#5f6068", "#b3261e", "#7a0016"
WORST_VERDICTS = ("SILENT_WRONG", "LOST_WORK")
CHARACTER_WIDTH = 6.6  # of a badge, in its font


def as_html(card: ReportCard) -> str:
    """The page as text."""
    promises = tuple(
        (
            one.promise,
            one.verdict,
            one.sentence,
            ", ".join(effort.text for effort in one.efforts if effort.count)
            + one.why_not
            + (", flaky" if one.is_flaky else ""),
        )
        for one in card.promises
    )
    notes = (f"What was left out: {'; '.join(card.left_out)}.",) if card.left_out else ()
    return explorer.as_html(
        Explorer(
            title=f"{card.checkpointer}: {card.grade}",
            what="violations",
            items=tuple(
                Item(
                    word=broken.verdict,
                    name=f"{broken.promise}: {broken.occurrence.scenario or card.checkpointer}",
                    place=broken.promise,
                    known=broken.known,
                    evidence=((broken.check, broken.evidence),),
                    facts=(("promise", broken.promise), ("identity", str(broken.identity))),
                    story=broken.story,
                    ways=(("in a shell", broken.replay),),
                )
                for broken in card.violations
            ),
            meanings={str(verdict): verdict.meaning for verdict in Verdict},
            facts=(f"{_made_of(card)}, {card.seconds:.1f} s",),
            notes=notes,
            tables=(
                ("What is promised", ("promise", "verdict", "what is promised", "what was tried"), promises),
            ),
            made=made_here(card.torch),
        )
    )


def _made_of(card: ReportCard) -> str:
    return f"{card.world_size} ranks, torch {card.torch}, faultkit {card.faultkit}, seed {card.seed}"


def as_badge(card: ReportCard) -> str:
    """A badge (SVG) with the checkpointer and the first half of its grade."""
    left, right = card.checkpointer, card.grade.partition(";")[0]
    worst = next((broken.verdict for broken in card.violations if not broken.known), "HELD")
    colour = _colour(worst) if worst != "HELD" else (KEPT if card.is_complete else OPEN)
    widths = [round(len(text) * CHARACTER_WIDTH + 16) for text in (left, right)]
    total = sum(widths)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="20" role="img" '
        f'aria-label="{escape(left)}: {escape(right)}"><title>{escape(left)}: {escape(card.grade)}</title>'
        f'<rect width="{widths[0]}" height="20" rx="3" fill="#3b3b44"/>'
        f'<rect x="{widths[0]}" width="{widths[1]}" height="20" rx="3" fill="{colour}"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="8" y="14">{escape(left)}</text><text x="{widths[0] + 8}" y="14">{escape(right)}</text></g></svg>\n'
    )


def _colour(verdict: str) -> str:
    if verdict == "HELD":
        return KEPT
    if verdict in ("NOT_TRIED", "NOT_APPLICABLE"):
        return QUIET
    return WORST if verdict in WORST_VERDICTS else BROKEN
