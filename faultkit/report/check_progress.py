"""How far a check has come: a line that is renewed on a terminal, else a line every ten seconds.

Not covered: the card at the end (`faultkit.report.card`).
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["told"]

LOG_SECONDS = 10.0


@contextlib.contextmanager
def told() -> Iterator[Callable[[Any], None]]:
    """Gives what is called with each `faultkit.conformance.Progress`; writes to standard error."""
    if not sys.stderr.isatty():
        last = time.monotonic()

        def log(progress: Any) -> None:
            nonlocal last
            if time.monotonic() - last >= LOG_SECONDS:
                last = time.monotonic()
                print(_line(progress), file=sys.stderr, flush=True)

        yield log
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting ranks", total=None)

        def advance(progress: Any) -> None:
            bar.update(task, description=_line(progress))

        yield advance


def _line(progress: Any) -> str:
    found = f"{progress.violations} violation{'' if progress.violations == 1 else 's'}"
    left = "" if progress.left_seconds is None else f", {progress.left_seconds:.0f} s left"
    return f"{progress.units} units, {found}{left}: {', '.join(progress.running) or 'ending'}"
