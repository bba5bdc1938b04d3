"""Every figure, measured beside its limit in one run, as ratios: ``python -m benchmarks.run [GROUP | NAME]...``

A ratio compares two things done on the same machine within the same minute, so it means something on another
machine, as a time does not.  Where the two take turns, the median of the turns' ratios is given with its
range.  Nothing here is asserted in a test.  ``--quick`` takes the few that are done within a minute, ``--write PAGE``
puts the table between the marks of a page, which has then the figures of one run.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch; all sides alike

from rich.console import Console
from rich.table import Table

from benchmarks.catalogue import GROUPS, QUICK, SLOW, Row, named

__all__ = ["chosen", "main", "page_with"]

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
HEAD = ("what is done", "faultkit", "the limit", "ratio")


def chosen(asked: list[str], quick: bool) -> tuple[str, ...]:
    """The names of figures to measure, in the order of the catalogue.  Raises ValueError for a name that is none."""
    known = named()
    for name in asked:
        if name not in known and name not in GROUPS:
            raise ValueError(f"benchmarks: no {name!r}; there are {', '.join((*GROUPS, *known))}")
    return tuple(
        figure.__name__
        for group, figures in GROUPS.items()
        for figure in figures
        if figure.__name__ in asked
        or (((not asked or group in asked) and figure.__name__ not in SLOW)
        and (not quick or figure.__name__ in QUICK))
    )  # fmt: skip


def page_with(page: str, rows: dict[str, Row], made: str) -> str:
    """`page` with the figures between its marks.  Raises ValueError where it has no marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"benchmarks: the page must have {BEGIN} and after it {END}")
    lines = [f"{made}.", ""]
    for group, figures in GROUPS.items():
        held = [rows[figure.__name__] for figure in figures if figure.__name__ in rows]
        if held:
            lines += [f"**{group.capitalize()}**", "", f"| {' | '.join(HEAD)} |", "|---|---:|---:|---:|"]
            lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in held] + [""]
    return "\n".join([before + BEGIN, *lines]) + END + after


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="GROUP|NAME", help=", ".join(GROUPS))
    parser.add_argument("--quick", action="store_true", help="only the figures that take seconds")
    parser.add_argument("--write", metavar="PAGE", help="put the figures into a page, between its marks")
    asked = parser.parse_args()
    try:
        names = chosen(asked.names, asked.quick)
    except ValueError as error:
        sys.exit(str(error))
    known, rows = named(), {}
    table = Table(*HEAD)
    for name in names:
        Console(stderr=True).print(f"[dim]{name} ...[/dim]")
        rows[name] = known[name]()
        table.add_row(*rows[name])
    Console().print(table)
    if asked.write:
        page = Path(asked.write)
        made = (
            f"torch {metadata.version('torch')}, Python {platform.python_version()}, {os.cpu_count()} cores"
        )
        page.write_text(page_with(page.read_text(), rows, made))


if __name__ == "__main__":
    main()
