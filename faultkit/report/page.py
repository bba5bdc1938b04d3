"""The page of a sweep, in the explorer of every campaign; and the picture beside it.

The matrix stands first; every cell leads to what happened there: the evidence, the timeline, the whole story, and the
command that runs that plan again.  Not covered: how it looks and behaves (`faultkit.report.explorer`).
"""

from __future__ import annotations

from pathlib import Path

from faultkit.checks import Verdict
from faultkit.report import explorer
from faultkit.report.explorer import Cell, Explorer, Item, Row
from faultkit.report.made import Made, made_here
from faultkit.report.matrix import groups_of, matrix_of, meaning_in
from faultkit.report.terminal import as_svg
from faultkit.sweep.results import Journal, PlanResult
from faultkit.whole_files import write_whole

__all__ = ["as_html", "explored", "write_report"]


def as_html(journal: Journal, made: Made | None = None) -> str:
    """The page as text."""
    return explorer.as_html(explored(journal, made))


def explored(journal: Journal, made: Made | None = None) -> Explorer:
    """What the page shows."""
    matrix = matrix_of(journal)
    number_of = {id(result): number for number, result in enumerate(journal.results)}
    rows = tuple(
        Row(
            row.place,
            row.action,
            {_rank(rank): Cell((number_of[id(result)],)) for rank, result in row.cells.items()}
            | {_rank(rank): Cell(is_pending=True) for rank in row.pending},
        )
        for row in matrix.rows
    )
    groups = groups_of(journal)
    ranks = "1 rank" if journal.world_size == 1 else f"{journal.world_size} ranks"
    return Explorer(
        title=f"{journal.scenario} on {ranks}",
        what="plans",
        items=tuple(_item(journal, result) for result in journal.results),
        meanings={word: meaning_in(journal, Verdict(word)) for word in journal.totals},
        facts=_facts(journal),
        notes=_notes(journal),
        matrix=explorer.Matrix(
            "injected at", tuple(map(_rank, matrix.ranks)), rows, "this rank does not come by this point"
        )
        if rows
        else None,
        groups=tuple(
            (
                " ".join(part for part in (group.title, group.action) if part),
                tuple(number_of[id(one)] for one in group.results),
            )
            for group in groups
        ),
        made=made or made_here(journal.torch),
    )


def write_report(journal: Journal, path: str | Path) -> None:
    """Write the page, or the picture where `path` ends with ``.svg``.  Raises OSError."""
    text = as_svg(journal) if str(path).lower().endswith(".svg") else as_html(journal)
    write_whole(path, text)


def _rank(number: int) -> str:
    return f"rank {number}"


def _item(journal: Journal, result: PlanResult) -> Item:
    plan = result.plan
    alone = plan.faults[0] if len(plan) == 1 else None
    names = [name for name in journal.known_as(result) if name]
    ways = [("in a shell", journal.replay_command(result))]
    if result.differs:
        ways.append(("on simulated ranks", journal.replay_command(result, simulated=True)))
    if str(plan):
        ways.append(("in a test", f"@pytest.mark.faults({str(plan)!r})"))
    return Item(
        word=str(result.verdict),
        name=str(plan),
        place=""
        if alone is None
        else alone.site
        if alone.moment == "before"
        else f"{alone.site}:{alone.moment}",
        action="" if alone is None else str(alone.action),
        at=tuple(_rank(rank) for rank in dict.fromkeys(fired.rank for fired in result.fired)),
        known=", ".join(dict.fromkeys(names)) if names and len(names) == len(result.violations) else "",
        seconds=round(result.seconds, 6),
        evidence=tuple((violation.check, violation.evidence) for violation in result.violations),
        facts=tuple(_outcomes(result))
        + tuple(("identity", str(one)) for one in dict.fromkeys(result.identities)),
        story=result.story,
        ways=tuple(ways),
        timeline=result.timeline,
        also=f"{result.simulated} on simulated ranks" if result.differs else "",
    )


def _outcomes(result: PlanResult) -> list[tuple[str, str]]:
    """What became of the ranks, those that fared alike together, and when each knew."""
    alike: dict[str, list[int]] = {}
    for rank, note in result.outcomes.items():
        told = ": ".join(
            part
            for part in (note.kind, note.type, note.message and " ".join(note.message.split())[:300])
            if part
        )
        alike.setdefault(told, []).append(rank)
    facts = [
        (f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}", told)
        for told, ranks in alike.items()
    ]
    if any(seconds is not None for seconds in result.seconds_to_know.values()):
        known = ", ".join(
            "never" if seconds is None else f"{seconds:.3f}" for seconds in result.seconds_to_know.values()
        )
        facts.append(("seconds until each rank knew", known))
    return facts


def _facts(journal: Journal) -> tuple[str, ...]:
    fired = sum(len(result.fired) for result in journal.results)
    count = len(journal.results)
    launcher = ", no launcher" if journal.launcher == "none" else ""
    torch = f", torch {journal.torch}" if journal.torch else ""
    cut = f" of {journal.planned_count}, cut off" if journal.is_cut_off else ""
    under = f", under {journal.schedules}" if journal.schedules else ""
    idle = f"{journal.idle_count} more had nothing to change, " if journal.idle_count else ""
    told = f"{fired} {'fault' if fired == 1 else 'faults'} fired, {journal.seconds:.1f} s"
    return (
        f"{journal.kind} world{launcher}{torch}; {count} {'plan' if count == 1 else 'plans'}{cut}{under}, {idle}{told}",
    )


def _notes(journal: Journal) -> tuple[str, ...]:
    notes = []
    if journal.chosen.told:
        notes.append(journal.chosen.told)
    if journal.baseline:
        notes.append(journal.baseline.told)
    if journal.kept_residue:
        notes.append(
            f"Kept by each process, and no leak, since a second call leaves no more: {', '.join(journal.kept_residue)}."
        )
    if count := journal.unbroken_file_count:
        notes.append(
            f"The function wrote {count} {'file' if count == 1 else 'files'}, which only writer.* and reader.* broke: "
            "--points 'fs.*' would break these, too."
        )
    if journal.unreferenced:
        notes.append(
            f"Files lie beside a good checkpoint that refers to none of them: {', '.join(journal.unreferenced)}."
        )
    if journal.unreached:
        notes.append(f"Not reached by this scenario: {', '.join(journal.unreached)}.")
    if journal.refused:
        notes.append(f"Not possible on simulated ranks: {', '.join(journal.refused)}.")
    if journal.left_out_count:
        notes.append(f"These ranks stand for {journal.left_out_count} more.")
    if journal.starts_again is False:
        notes.append("A second start fails with nothing broken: whether a next start recovers was not tried.")
    if journal.pending:
        notes.append("? in the matrix: the sweep was cut off before that plan.")
    if journal.differences:
        notes.append(
            f"Processes and simulated ranks came to different verdicts in {len(journal.differences)} plans."
        )
    return tuple(notes)
