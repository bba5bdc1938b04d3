"""Where reports go: progress while a sweep runs, then the console, and files (`faultkit.whole_files`)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faultkit.checks import Verdict
from faultkit.messages import printable, seen, without_commands
from faultkit.report import known
from faultkit.report.progress import following
from faultkit.whole_files import is_stream, mode_of, write_whole

if TYPE_CHECKING:
    from faultkit.sweep import Journal, PlanResult, Progress

__all__ = ["progress_bar", "refusal", "refusal_of", "show", "write"]

REPORT_SUFFIXES = (".html", ".svg")


def refusal(json_path: str | None, report_path: str | None) -> str:
    """Why these cannot be written, said now rather than after minutes; empty where they can."""
    if report_path is not None and not report_path.lower().endswith(REPORT_SUFFIXES):
        return f"--report must end with {' or '.join(REPORT_SUFFIXES)} (got {seen(report_path)}); --json writes JSON"
    return refusal_of({"--json": json_path, "--report": report_path})


def refusal_of(paths: Mapping[str, str | None]) -> str:
    """Why these, by option, cannot be written, or not all of them; ``-`` is standard output."""
    files: dict[str, str] = {}
    for option, path in paths.items():
        if path == "-" and option != "--json":
            return f"{option} must name a file (got '-'); only --json may be standard output"
        if path is None or path == "-":
            continue
        try:
            mode = mode_of(path)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            return f"{option} must name a file that can be written (got {seen(path)}: {why})"
        target = os.path.realpath(path)
        folder = os.path.dirname(target)
        if Path(path).is_dir():
            return f"{option} must name a file (got {path!r}, which is a directory)"
        if is_stream(path, mode):
            if not os.access(path, os.W_OK):
                return f"{option} must name a file that can be written (got {path!r})"
        elif not os.path.isdir(folder) or not os.access(folder, os.W_OK):
            return f"{option} must lie in a directory that can be written (got {path!r})"
        elif files.setdefault(target, option) != option:
            return f"{files[target]} and {option} must name two files (got {path!r} for both)"
    return ""


def show(journal: Journal, *, stories: bool, to_stderr: bool) -> None:
    """Print the journal on standard output, or on standard error; with `stories`, those of its runs first."""
    stream = sys.stderr if to_stderr else sys.stdout
    if stories:
        for result in journal.results:
            print(printable(_told(result, alone=journal.planned_count == 1)), file=stream)
        if journal.planned_count == 1:
            if journal.sorted is not None and (folded := known.lines(journal.sorted)):
                print("\n".join(["", *folded]), file=stream)
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
        # rich fills lines with blanks, and begins new ones
        print(without_commands(line.rstrip()), file=stream)


def write(journal: Journal, json_path: str | None, report_path: str | None) -> None:
    """Write the files.  Raises OSError."""
    if json_path is not None:
        from faultkit.report.made import stamped

        text = stamped(journal.to_json(), journal.torch)
        if json_path == "-":
            sys.stdout.write(text)
        else:
            write_whole(json_path, text)
    if report_path is not None:
        from faultkit.report.page import write_report

        write_report(journal, report_path)


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """Tells of a sweep while it runs; gives what is to be called with each `faultkit.sweep.Progress`."""
    counts: dict[Any, int] = {}
    with following("starting ranks") as tell:

        def advance(progress: Any) -> None:
            if progress.latest is not None:
                counts[progress.latest.verdict] = counts.get(progress.latest.verdict, 0) + 1
            words = "  ".join(f"{verdict} {counts[verdict]}" for verdict in Verdict if verdict in counts)
            tell(words or "running plans", progress.done_count, progress.planned_count, "plans")

        yield advance


def _told(result: PlanResult, alone: bool) -> str:
    if alone:
        return result.story
    return f"{result.verdict}: {result.plan}" if result.verdict == "HELD" else f"{result.story}\n"
