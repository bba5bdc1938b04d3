"""How far a command has come, for somebody who waits: a line that is renewed on a terminal, else one every ten seconds.

Guarantees: it goes to standard error alone, also while the work says nothing of itself; it ends with the work, and the
terminal is as it was.  With ``FAULTKIT_PROGRESS=0`` nothing is told.  Not covered: what was found, told at the end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from faultkit.messages import printable, shortened

__all__ = ["Tell", "described", "following", "time_words"]

LOG_SECONDS = 10.0
TEXT_LENGTH_MAX = 100
Tell = Callable[..., None]


class _State:
    """What was told last.  `done` and `total` count what `unit` says; None where nobody counts."""

    def __init__(self, what: str) -> None:
        self.began = time.monotonic()
        self.text, self.unit = what, ""
        self.done: int | None = None
        self.total: int | None = None

    def tell(self, text: str = "", done: int | None = None, total: int | None = None, unit: str = "") -> None:
        self.text, self.unit = shortened(printable(text), TEXT_LENGTH_MAX) or self.text, unit or self.unit
        self.done, self.total = done, total

    def line(self) -> str:
        return described(self.text, time.monotonic() - self.began, self.done, self.total, self.unit)


def described(text: str, seconds: float, done: int | None, total: int | None, unit: str) -> str:
    """One line: what it is, how much of how much, how fast, and how long it will take.

    ``writer.finish: 120 of 648 plans, 7.4 a second, 1 min 11 s left``
    """
    if not done:
        return f"{text}: {time_words(seconds)}"
    rate = done / max(seconds, 1e-9)
    parts = [f"{done:,}{f' of {total:,}' if total else ''} {unit}".strip()]
    parts.append(f"{rate:.1f} a second" if rate >= 1 else f"{1 / rate:.1f} s each")
    parts.append(
        f"{time_words((total - done) / rate)} left" if total and total >= done else time_words(seconds)
    )
    return f"{text}: {', '.join(parts)}"


def time_words(seconds: float) -> str:
    """``9 s``, ``1 min 11 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@contextlib.contextmanager
def following(what: str) -> Iterator[Tell]:
    """Tell of `what` until the block ends.

    Gives what is called, from any thread and as often as one likes, with `text`, and with `done`, `total` and `unit`
    where something is counted.
    """
    state = _State(what)
    if os.environ.get("FAULTKIT_PROGRESS") == "0":
        yield state.tell
    elif sys.stderr.isatty():
        with _on_a_terminal(state):
            yield state.tell
    else:
        with _in_a_log(state):
            yield state.tell


@contextlib.contextmanager
def _in_a_log(state: _State) -> Iterator[None]:
    over = threading.Event()

    def log() -> None:
        while not over.wait(LOG_SECONDS):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                print(state.line(), file=sys.stderr, flush=True)

    thread = threading.Thread(target=log, name="faultkit progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _on_a_terminal(state: _State) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    class Line:
        def __rich__(self) -> Any:
            grid = Table.grid(padding=(0, 1))
            bar = ProgressBar(total=state.total, completed=state.done or 0, width=20, pulse=not state.total)
            grid.add_row(bar, Text(state.line(), no_wrap=True, overflow="ellipsis"))
            return grid

    with Live(Line(), console=Console(stderr=True), transient=True, refresh_per_second=8):
        yield
