"""A sweep in a terminal, in a pipe, or as a picture: matrix, totals, legend, and every broken promise.

Works at any width: where not all ranks fit beside each other, those that fared alike share a column; then verdicts are
shortened, and a world too wide for that is shown in blocks.  Commands to copy are never broken into lines.
Colours only where the console has them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from faultkit.checks import Verdict
from faultkit.checks.wording import name_ranks
from faultkit.messages import printable, shortened
from faultkit.report import known
from faultkit.report.matrix import Group, Matrix, groups_of, matrix_of, meaning_in
from faultkit.runs.launcher import NONE
from faultkit.sweep.results import Journal, PlanResult

__all__ = ["STYLES", "as_svg", "counts_text", "print_journal"]

EVIDENCE_CHARACTERS_MAX = 600
UNREACHED_SHOWN_MAX = 6
UNREFERENCED_CHARACTERS_MAX = 200
PICTURE_WIDTH = 100

STYLES = {
    Verdict.SILENT_WRONG: "bold white on red",
    Verdict.LOST_WORK: "bold white on red",
    Verdict.HUNG: "bold red",
    Verdict.DIED: "bold red",
    Verdict.PARTIAL: "bold magenta",
    Verdict.MISATTRIBUTED: "magenta",
    Verdict.MASKED: "yellow",
    Verdict.LATE: "yellow",
    Verdict.LEAKED: "yellow",
    Verdict.UNUSABLE: "bold red",
    Verdict.INERT: "cyan",
    Verdict.HELD: "green",
}
SHORT = {
    Verdict.SILENT_WRONG: "WRONG",
    Verdict.LOST_WORK: "LOST",
    Verdict.PARTIAL: "PART",
    Verdict.MISATTRIBUTED: "MISAT",
    Verdict.MASKED: "MASK",
    Verdict.LEAKED: "LEAK",
    Verdict.UNUSABLE: "UNUS",
}
NOT_REACHED = "·"
NOT_RUN = "?"
DIFFERS = "≠"
INDENT = "  "
GAP = 2
LABEL_LENGTH_MAX = 16  # of ranks that share a column; with more numbers than that each has its own
FILES_HINT = (
    "the function wrote {}, which only writer.* and reader.* broke: --points 'fs.*' would break these, too"
)


def print_journal(journal: Journal, console: Console) -> None:
    """Print everything there is to say about `journal`."""
    matrix = matrix_of(journal)
    console.print(_headline(journal, matrix))
    if journal.baseline is not None:
        console.print(Text(journal.baseline.told, "bold"))
    if journal.chosen.told:
        console.print(Text(journal.chosen.told, "bold"))
    for table in _tables(matrix, console.width):
        console.print()
        console.print(table)
    if matrix.is_pending:
        console.print()
        console.print(
            f"{NOT_RUN} the sweep was cut off before that plan  {NOT_REACHED} the rank does not come by that place",
            style="dim",
        )
    if matrix.others:
        console.print()
        console.print(_other_plans(matrix))
    if journal.unreached:
        console.print()
        console.print(_unreached(journal), style="dim")
    if journal.refused:
        console.print(Text(f"not possible on simulated ranks: {', '.join(journal.refused)}"), style="dim")
    if journal.left_out_count:
        console.print(f"these ranks stand for {journal.left_out_count} more", style="dim")
    if journal.idle_count:
        console.print(
            f"in {_plans(journal.idle_count)} more the action had nothing to change: left out", style="dim"
        )
    if journal.abandoned:
        plans = shortened(", ".join(map(str, journal.abandoned)), UNREFERENCED_CHARACTERS_MAX)
        console.print(
            Text(
                f"{_plans(len(journal.abandoned))} killed every worker that had them, and were left: {plans}",
                "bold",
            )
        )
    if journal.kept_residue:
        kept = ", ".join(journal.kept_residue)
        console.print(
            Text(f"kept by each process, and no leak, since a second call leaves no more: {kept}", "dim")
        )
    if journal.unbroken_file_count:
        console.print(f"{FILES_HINT.format(_files(journal.unbroken_file_count))}", style="dim")
    if journal.starts_again is False:
        console.print(
            "a second start fails with nothing broken, over what the first one left: "
            "whether a next start recovers was not tried",
            style="dim",
        )
    if journal.unreferenced:
        count = sum(bool(result.unreferenced) for result in journal.results)
        told = shortened(", ".join(journal.unreferenced), UNREFERENCED_CHARACTERS_MAX)
        console.print(
            Text(
                f"after {_plans(count)} files lie beside a good checkpoint that refers to none of them: {told}",
                "dim",
            )
        )
    for result in journal.differences:
        console.print()
        _print_difference(result, journal, console)
    for group in groups_of(journal):
        if journal.names_of(group):
            continue
        console.print()
        _print_group(group, journal, console)
    if journal.sorted is not None and (folded := known.lines(journal.sorted)):
        console.print()
        for line in folded:
            console.print(Text(line), soft_wrap=True)
    console.print()
    console.print(_totals(journal))
    console.print(_figures(journal), style="dim")


def as_svg(journal: Journal, *, title: str = "") -> str:
    """The same as a picture that needs no network, `PICTURE_WIDTH` characters wide."""
    from rich._export_format import CONSOLE_SVG_FORMAT

    console = Console(
        record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    print_journal(journal, console)
    # rich points at fonts on a server of others; any monospaced font does
    without_fonts = re.sub(r"@font-face\s*\{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(
        title=printable(title or f"faultkit sweep {journal.scenario} --world {journal.world_size}"),
        code_format=without_fonts,
        unique_id="faultkit",
    )


def counts_text(totals: Mapping[str, int]) -> Text:
    """Totals in colour, worst first: ``HUNG 4  HELD 18``."""
    text = Text()
    for verdict in Verdict:
        if count := totals.get(verdict, 0):
            text.append(INDENT if text else "")
            text.append(f"{verdict} {count}", style=STYLES[verdict])
    return text or Text("no plan was run")


def _headline(journal: Journal, matrix: Matrix) -> Text:
    text = Text.assemble(
        (printable(journal.scenario), "bold"), f" on {_ranks(journal.world_size)}, {journal.kind}"
    )
    if journal.launcher == NONE:
        text.append(", no launcher")
    if journal.torch:
        text.append(f", torch {journal.torch}")
    text.append(f": {_plans(len(journal.results))}")
    if journal.is_cut_off:
        text.append(f" of {journal.planned_count}, cut off", style="bold")
    if len(matrix.actions) == 1:
        text.append(f", each {matrix.actions[0]}" if not matrix.others else "")
    if journal.schedules:
        text.append(f", under {journal.schedules}")
    return text


_Column = tuple[str, tuple[int, ...]]  # what stands over it, and the ranks that it is of


def _tables(matrix: Matrix, width: int) -> Iterator[Table]:
    """The matrix: ranks that fared alike in one column where all do not fit, then in as many blocks as it takes."""
    if not matrix.rows:
        return
    several = len(matrix.actions) > 1
    labels = [row.place for row in matrix.rows] + [INDENT + row.action for row in matrix.rows if several]
    room = max(1, width - max(map(len, labels)) - GAP)
    names = {verdict: str(verdict) for verdict in Verdict}
    columns: list[_Column] = [(f"rank {rank}", (rank,)) for rank in matrix.ranks]
    if _width_of(columns, names, matrix) > room:
        folded = _alike(matrix)
        if max(len(label) for label, _ in folded) <= LABEL_LENGTH_MAX:
            columns = folded
    if _width_of(columns, names, matrix) > room:
        names |= SHORT
    cell = _cell_width(columns, names, matrix)
    count = max(1, room // cell)
    for start in range(0, len(columns), count):
        yield _table(matrix, columns[start : start + count], names, several)


def _alike(matrix: Matrix) -> list[_Column]:
    """A column for the ranks that came to the same at every place, in the order of the first of each."""
    same: dict[object, list[int]] = {}
    for rank in matrix.ranks:
        cells = [(row.cells.get(rank), rank in row.pending) for row in matrix.rows]
        fared = tuple((cell and (cell.verdict, cell.simulated), pending) for cell, pending in cells)
        same.setdefault(fared, []).append(rank)
    return [(name_ranks(ranks), tuple(ranks)) for ranks in same.values()]


def _width_of(columns: Sequence[_Column], names: dict[Verdict, str], matrix: Matrix) -> int:
    return len(columns) * _cell_width(columns, names, matrix)


def _cell_width(columns: Sequence[_Column], names: dict[Verdict, str], matrix: Matrix) -> int:
    marks = [_mark(result, names) for row in matrix.rows for result in row.cells.values()]
    return max(map(len, [*marks, *(label for label, _ in columns)])) + GAP


def _mark(result: PlanResult, names: dict[Verdict, str]) -> str:
    """``HUNG``, and ``HUNG≠HELD`` where simulated ranks held, and processes hung."""
    mark = names[result.verdict]
    if result.differs:
        assert result.simulated is not None
        mark += DIFFERS + names[result.simulated]
    return mark


def _empty_table() -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        padding=(0, GAP, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="dim",
        border_style="dim",
    )


def _table(matrix: Matrix, columns: Sequence[_Column], names: dict[Verdict, str], several: bool) -> Table:
    table = _empty_table()
    table.add_column("injected at", no_wrap=True)
    ranks = [of[0] for _, of in columns]
    for heading, _ in columns:
        table.add_column(heading, no_wrap=True)
    place = None
    for row in matrix.rows:
        if several and row.place != place:
            table.add_row(Text(row.place))
        place = row.place
        label = Text(INDENT + row.action if several else row.place)
        cells = [row.cells.get(rank) for rank in ranks]
        marks = [
            Text(NOT_RUN if rank in row.pending else NOT_REACHED, style="dim")
            if cell is None
            else Text(_mark(cell, names), style=STYLES[cell.verdict])
            for rank, cell in zip(ranks, cells, strict=True)
        ]
        table.add_row(label, *marks)
    return table


def _other_plans(matrix: Matrix) -> Table:
    table = _empty_table()
    table.add_column("verdict", no_wrap=True)
    table.add_column("plan", overflow="fold")
    for result in matrix.others:
        table.add_row(
            Text(_mark(result, {verdict: str(verdict) for verdict in Verdict}), style=STYLES[result.verdict]),
            Text(str(result.plan) or "(no fault)"),
        )
    return table


def _unreached(journal: Journal) -> Text:
    shown = list(journal.unreached[:UNREACHED_SHOWN_MAX])
    more = len(journal.unreached) - len(shown)
    return Text(
        f"not reached by this scenario: {', '.join(shown)}" + (f" and {more} more" if more > 0 else "")
    )


def _print_difference(result: PlanResult, journal: Journal, console: Console) -> None:
    title = Text.assemble(("DIFFERENCE", "bold red"), " ", (str(result.plan) or "(no fault)", "bold"))
    console.print(title)
    told = f"processes came to {result.verdict}, simulated ranks to {result.simulated}"
    console.print(Padding(Text(told), (0, 0, 0, len(INDENT))))
    for simulated in (False, True):
        command = journal.replay_command(result, simulated=simulated)
        console.print(Text(INDENT + printable(command), style="dim"), soft_wrap=True, highlight=False)


def _print_group(group: Group, journal: Journal, console: Console) -> None:
    title = Text.assemble((str(group.verdict), STYLES[group.verdict]), " ", (printable(group.title), "bold"))
    if group.action:
        title.append(f": {group.action}")
    console.print(title)
    for violation in group.violations:
        evidence = shortened(" ".join(violation.evidence.split()), EVIDENCE_CHARACTERS_MAX)
        console.print(Padding(Text(printable(f"{violation.check}: {evidence}")), (0, 0, 0, len(INDENT))))
    for identity in group.identities:
        console.print(Text(f"{INDENT}{printable(str(identity))}", "dim"))
    for result in group.results[:1]:
        if result.covered is not None:
            console.print(Text(f"{INDENT}under {result.covered.text(result.simulated or result.verdict)}"))
    command = journal.replay_command(group.results[0])
    console.print(Text(INDENT + printable(command), style="dim"), soft_wrap=True, highlight=False)


def _figures(journal: Journal) -> str:
    count = len(journal.results)
    fired = sum(len(result.fired) for result in journal.results)
    speed = f", {count / journal.seconds:.1f} plans per second" if journal.seconds > 0 and count else ""
    faults = f"{fired} fault fired" if fired == 1 else f"{fired} faults fired"
    confirmed = sum(result.confirmed for result in journal.results)
    worlds = f", {confirmed} confirmed on processes" if journal.is_confirmed else ""
    if differences := len(journal.differences):
        worlds += f", {differences} not"
    return f"{_plans(count)}, {faults}{worlds}, {journal.seconds:.1f} s{speed}"


def _totals(journal: Journal) -> Table:
    table = Table(box=None, show_header=False, padding=(0, GAP, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column()
    for name, count in journal.totals.items():
        style = STYLES[Verdict(name)]
        table.add_row(
            Text(name, style), Text(str(count), style), Text(meaning_in(journal, Verdict(name)), "dim")
        )
    return table


def _plans(count: int) -> str:
    return f"{count} plan" if count == 1 else f"{count} plans"


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"


def _ranks(count: int) -> str:
    return f"{count} rank" if count == 1 else f"{count} ranks"
