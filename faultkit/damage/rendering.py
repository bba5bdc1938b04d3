"""A survey as a table for a terminal.

Rows are parts of files, columns kinds of damage; a cell says how many of its samples no load noticed, were
noticed, did no harm.  Not covered: colour.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from faultkit.damage.outcomes import OUTCOMES
from faultkit.messages import columns

if TYPE_CHECKING:
    from faultkit.damage.survey import Case, Survey

__all__ = ["as_text", "cell_text"]

WIDTH = 110
EXAMPLES_SHOWN = 12


def as_text(survey: Survey, width: int | None = None) -> str:
    """The table, what its words mean, and the damage that went unnoticed."""
    width = width or WIDTH
    ranks = f"{survey.world} rank{'s' * (survey.world != 1)}"
    parts = [f"{survey.scenario} saved by {ranks}, torch {survey.torch}: {len(survey.cases)} damages", ""]
    rows = [["", *survey.actions]]
    for kind in survey.kinds:
        rows.append([kind, *(cell_text(survey.cell(kind, action)) for action in survey.actions)])
    head, *lines = columns(rows)
    parts += [head, "─" * max(map(len, (head, *lines))), *lines, ""]
    for case in _examples(survey):
        parts += textwrap.wrap(f"{case.outcome}: {case.damage}", width, subsequent_indent="  ")
        parts.append(f"  {case.identity}")
        if case.detail:
            parts += textwrap.wrap(
                f"{case.judgement.verdict}: {case.detail}", width, initial_indent="  ", subsequent_indent="  ",
                max_lines=3, placeholder=" ...",
            )  # fmt: skip
    if survey.silent or not survey.held:
        parts.append("")
    for word, count in survey.totals.items():
        parts.append(f"{word:<9}{count:>4}  {OUTCOMES[word][0]}")
    if survey.left_out:
        parts.append(f"interrupted: {survey.left_out} more damages were not judged")
    parts.append(f"{len(survey.cases)} damages, {survey.seconds:.1f} s, seed {survey.seed}")
    return "\n".join(parts)


def cell_text(cases: tuple[Case, ...]) -> str:
    """``"2 WRONG, 1 noticed"``, worst first; "·" where there is nothing to damage."""
    counts = {word: sum(case.outcome == word for case in cases) for word in OUTCOMES}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "·"


def _examples(survey: Survey) -> list[Case]:
    """The first of each cell that a load did not survive or notice, worst first."""
    worst = sorted(
        (
            case
            for case in survey.cases
            if case.outcome not in ("noticed", "harmless") and not survey.known_as(case)
        ),
        key=lambda case: list(OUTCOMES).index(case.outcome),
    )
    first = {(case.outcome, case.damage.kind, case.damage.action): case for case in reversed(worst)}
    return [case for case in worst if case in first.values()][:EXAMPLES_SHOWN]
