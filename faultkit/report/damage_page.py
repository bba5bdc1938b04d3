"""The page of a survey of damage, in the explorer of every campaign: regions and actions, and every damage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultkit.report import explorer
from faultkit.report.explorer import Cell, Explorer, Item, Matrix, Row
from faultkit.report.made import made_here

if TYPE_CHECKING:
    from faultkit.damage import Survey

__all__ = ["as_html"]


def as_html(survey: Survey) -> str:
    """The table and every damage as one page, complete in itself."""
    from faultkit.damage.outcomes import OUTCOMES

    made = made_here(survey.torch)
    cells: dict[tuple[str, str], list[int]] = {}
    for number, case in enumerate(survey.cases):
        cells.setdefault((case.damage.kind, case.damage.action), []).append(number)
    rows = tuple(
        Row(
            kind,
            "",
            {
                action: Cell(tuple(cells[kind, action]))
                for action in survey.actions
                if (kind, action) in cells
            },
        )
        for kind in survey.kinds
    )
    left_out = f"; {survey.left_out} were not judged" if survey.left_out else ""
    ranks = "1 rank" if survey.world == 1 else f"{survey.world} ranks"
    return explorer.as_html(
        Explorer(
            title=f"Damage to a checkpoint of {survey.scenario}",
            what="damages",
            items=tuple(
                Item(
                    word=case.outcome,
                    name=str(case.damage),
                    place=case.damage.kind,
                    action=case.damage.action,
                    known=survey.known_as(case),
                    evidence=(("the load", case.detail),) if case.detail else (),
                    facts=(("file", case.damage.path), ("judged as", case.judgement.verdict)),
                    ways=(("the same survey, with this damage in it", made.command),),
                )
                for case in survey.cases
            ),
            meanings={word: meaning for word, (meaning, _) in OUTCOMES.items()},
            facts=(
                f"saved by {ranks}, seed {survey.seed}, torch {survey.torch}, {survey.seconds:.1f} s{left_out}",
            ),
            matrix=Matrix("region", survey.actions, rows, "there is no such damage to this region")
            if rows
            else None,
            made=made,
        )
    )
