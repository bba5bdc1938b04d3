"""A report card for a terminal: a line for each promise, and the smallest of each violation, worst first.

Guarantees: what nobody has named before comes first, each cause once; what is known is folded into one line.  Not
covered: the page and the badge (`faultkit.report.card_page`).
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faultkit.conformance.card import Broken, PromiseResult, ReportCard

__all__ = ["as_text"]

WIDTH = 110
EVIDENCE_CHARACTERS = 400
TOLD_MAX = 12
PLACES_MAX = 6


def as_text(card: ReportCard, width: int | None = None) -> str:
    """The whole card; ends without a newline."""
    width = min(width or WIDTH, WIDTH)
    lines = [f"{card.checkpointer} on {card.world_size} ranks, torch {card.torch}, seed {card.seed}", ""]
    name_width = max(len(one.promise) for one in card.promises)
    for one in card.promises:
        lines += _line(one, name_width, width)
    new = [several for several in card.causes if not several[0].known]
    for broken, *others in new[:TOLD_MAX]:
        evidence = " ".join(broken.evidence.split())
        if len(evidence) > EVIDENCE_CHARACTERS:
            evidence = evidence[: EVIDENCE_CHARACTERS - 3] + "..."
        lines += ["", f"{broken.verdict}: {broken.promise} broken ({broken.check})"]
        lines += textwrap.wrap(evidence, width, initial_indent="  ", subsequent_indent="  ")
        lines.append(f"  {broken.replay}")
        if others:
            lines += textwrap.wrap(_also(others), width, initial_indent="  ", subsequent_indent="  ")
    if len(new) > TOLD_MAX:
        lines += ["", f"and {len(new) - TOLD_MAX} more causes: --json has all of them"]
    known = {broken.known for broken in card.violations if broken.known}
    if known:
        lines += ["", *textwrap.wrap(f"known: {', '.join(sorted(known))}", width, subsequent_indent="  ")]
    if card.left_out:
        lines += ["", "left out:"]
        for text in card.left_out:
            lines += textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ")
    return "\n".join([*lines, "", f"{card.grade}; {card.seconds:.1f} s"])


def _also(others: list[Broken]) -> str:
    places = list(dict.fromkeys(one.identity.point or one.identity.slug for one in others))
    more = len(places) - PLACES_MAX
    named = ", ".join(places[:PLACES_MAX]) + (f" and {more} more" if more > 0 else "")
    return f"the same at {named}"


def _line(one: PromiseResult, name_width: int, width: int) -> list[str]:
    verdict = {"HELD": "kept", "NOT_TRIED": "NOT TRIED", "NOT_APPLICABLE": "not applicable"}.get(
        one.verdict, one.verdict
    )
    tried = ", ".join(effort.text for effort in one.efforts if effort.count) or one.why_not
    flaky = ", flaky" if one.is_flaky else ""
    text = f"{one.promise:<{name_width}}  {verdict:<14}  {tried}{flaky}"
    return textwrap.wrap(text, width, subsequent_indent=" " * (name_width + 18)) or [text]
