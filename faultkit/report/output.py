"""Where a sweep's report goes: a progress bar while it runs, then the console, a page, a picture, JSON."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faultkit.sweep import Journal, PlanResult, Progress

__all__ = ["progress_bar", "refusal", "show", "write"]

REPORT_SUFFIXES = (".html", ".svg")


def refusal(json_path: str | None, report_path: str | None) -> str:
    """Why these cannot be written, said now rather than after minutes; empty where they can."""
    if report_path is not None and not report_path.lower().endswith(REPORT_SUFFIXES):
        return (
            f"--report must end with {' or '.join(REPORT_SUFFIXES)} (got {report_path!r}); --json writes JSON"
        )
    for option, path in (("--json", json_path), ("--report", report_path)):
        if path is None or path == "-":
            continue
        folder = Path(path).absolute().parent
        if Path(path).is_dir():
            return f"{option} must name a file (got {path!r}, which is a directory)"
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            return f"{option} must lie in a directory that can be written (got {path!r})"
    return ""


def show(journal: Journal, *, stories: bool, to_stderr: bool) -> None:
    """Print the journal on standard output, or on standard error; with `stories`, those of its runs first."""
    stream = sys.stderr if to_stderr else sys.stdout
    if stories:
        for result in journal.results:
            print(_told(result, alone=journal.planned_count == 1), file=stream)
        if journal.planned_count == 1:
            return
    from rich.console import Console

    from faultkit.report.terminal import print_journal

    console = Console(file=stream, highlight=False)
    if stream.isatty():
        print_journal(journal, console)
        return
    with console.capture() as captured:
        print_journal(journal, console)
    for line in captured.get().splitlines():
        print(line.rstrip(), file=stream)  # rich fills lines with blanks


def write(journal: Journal, json_path: str | None, report_path: str | None) -> None:
    """Write the files.  Raises OSError."""
    if json_path == "-":
        sys.stdout.write(journal.to_json())
    elif json_path is not None:
        Path(json_path).write_text(journal.to_json(), encoding="utf-8")
    if report_path is not None:
        from faultkit.report.page import write_report

        write_report(journal, report_path)


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar on standard error where that is a terminal, else nothing; gives what is to be called."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from faultkit.report.terminal import counts_text

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting ranks", total=None)
        counts: dict[Any, int] = {}

        def advance(progress: Any) -> None:
            if progress.latest is not None:
                counts[progress.latest.verdict] = counts.get(progress.latest.verdict, 0) + 1
            described = counts_text(counts).markup if counts else "running plans"
            bar.update(
                task, description=described, total=progress.planned_count, completed=progress.done_count
            )

        yield advance


def _told(result: PlanResult, alone: bool) -> str:
    if alone:
        return result.story
    return f"{result.verdict}: {result.plan}" if result.verdict == "HELD" else f"{result.story}\n"
