"""The command ``faultkit check``: the whole contract of a checkpointer, on one report card.

Exit status: 0 every promise that was tried is kept (or what broke it is known), 1 a promise is broken, 2 bad usage or
bad input, 3 the harness itself failed, 130 interrupted: what was found by then is told and written.  Not covered: what
is tried (`faultkit.conformance`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from faultkit import endings
from faultkit.cli import known_options
from faultkit.cli.ci import tell_ci
from faultkit.cli.known_options import KNOWN
from faultkit.cli.options import JSON, RESUME
from faultkit.cli.run_sweep import BROKEN, HELD, UsageError, reason_of, search_here
from faultkit.cli.streams import write_found, write_json
from faultkit.messages import printable

__all__ = ["check"]

CARD_BYTES_MAX = 100_000_000


class _Violation(msgspec.Struct):
    hint: str = ""


class _Promise(msgspec.Struct):
    violations: list[_Violation] = []


class _Card(msgspec.Struct):
    """As much of a card as says what to try first."""

    promises: list[_Promise] = []


@click.command()
@click.argument("checkpointer")
@click.option(
    "--budget",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long trials go on; 0: all there is to try.",
)
@click.option(
    "--world", "world_size", type=int, default=3, show_default=True, metavar="N", help="Ranks of the world."
)
@click.option(
    "--kind",
    default="auto",
    show_default=True,
    metavar="KIND",
    help="World in which faults are tried: warm, fresh, spawn, simulated, or auto.",
)
@click.option(
    "--promises",
    multiple=True,
    metavar="GLOB",
    help="Promises that are wanted, such as 'crash' or 'l*'. Repeatable.  [default: all]",
)
@click.option(
    "--timeout", type=float, default=30.0, show_default=True, metavar="SECONDS", help="Bound of each run."
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of all that is drawn.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    metavar="N",
    help="Trials side by side.",
)
@RESUME
@KNOWN
@JSON
@click.option("--report", "report_path", metavar="PATH", help="Write a page (.html), or a badge (.svg).")
def check(
    checkpointer: str,
    budget: float,
    world_size: int,
    kind: str,
    promises: tuple[str, ...],
    timeout: float,
    seed: int,
    jobs: int,
    journal_path: str | None,
    known_names: tuple[str, ...],
    write_known: str | None,
    json_path: str | None,
    report_path: str | None,
) -> int:
    """Put every promise of CHECKPOINTER to the test: what holds, what does not, and how much of it was tried.

    CHECKPOINTER is a name of `faultkit checkpointers`, or module:attribute of your own; options follow after commas.

    \b
      faultkit check dcp
      faultkit check mymodel.checkpoint:MINE --budget 300 --json card.json
    """
    from faultkit.report.output import refusal, refusal_of
    from faultkit.torch_versions import require_torch

    if why := refusal(json_path, report_path) or refusal_of({"--resume": journal_path}):
        raise UsageError(why)
    known = known_options.read(known_names, write_known)
    require_torch()
    search_here(checkpointer)
    by_then: list[Any] = []
    status = HELD
    with endings.in_order():
        try:
            with _told() as tell:
                card = _checked(
                    checkpointer,
                    budget_seconds=budget,
                    world=world_size,
                    kind=kind,
                    promises=promises,
                    timeout_seconds=timeout,
                    seed=seed,
                    jobs=jobs,
                    hints=_hints(json_path),
                    journal_path=journal_path,
                    on_progress=tell,
                    on_interrupt=by_then.append,
                )
        except KeyboardInterrupt:
            status = endings.tell()
            if not by_then:
                return status
            card = by_then[0]
    if known.is_asked:
        card = card.sorted_by(known.entries)
    _written(card, json_path, report_path)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(
        printable("\n".join([card.text(width), *known_options.shown(card.sorted)])), err=json_path == "-"
    )
    if card.sorted is not None:
        known_options.write(known, card.sorted)
    tell_ci(
        f"{card.checkpointer}: {card.grade}",
        card.totals,
        ((one.verdict, f"{one.promise}: {one.evidence}", one.replay, one.known) for one in card.violations),
    )
    return status or (HELD if card.held else BROKEN)


def _checked(checkpointer: str, **choices: Any) -> Any:
    from faultkit.conformance import check as run_check
    from faultkit.exceptions import HarnessError

    try:
        return run_check(checkpointer, **choices)
    except HarnessError:
        raise
    except ValueError as error:
        raise UsageError(reason_of(error).removeprefix("check: ")) from None


def _hints(json_path: str | None) -> tuple[str, ...]:
    """What the card that lies there already says of what was found; () where there is none."""
    if json_path is None or json_path == "-" or not os.path.isfile(json_path):
        return ()
    try:
        with open(json_path, "rb") as stream:
            card = msgspec.json.decode(stream.read(CARD_BYTES_MAX), type=_Card)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return ()
    found = [broken.hint for promise in card.promises for broken in promise.violations if broken.hint]
    return tuple(dict.fromkeys(found))


def _written(card: Any, json_path: str | None, report_path: str | None) -> None:
    write_json(json_path, card.to_json(), card.torch)
    if report_path is not None:
        from faultkit.report import card_page

        is_badge = report_path.lower().endswith(".svg")
        write_found(report_path, card_page.as_badge(card) if is_badge else card_page.as_html(card))


@contextlib.contextmanager
def _told() -> Iterator[Any]:
    """Gives what is called with each `faultkit.conformance.Progress`."""
    from faultkit.report.progress import following, time_words

    with following("starting ranks") as tell:

        def hear(progress: Any) -> None:
            found = f"{progress.violations} violation{'' if progress.violations == 1 else 's'}"
            left = "" if progress.left_seconds is None else f", {time_words(progress.left_seconds)} left"
            running = ", ".join(progress.running) or "ending"
            tell(f"{progress.units} units, {found}{left}: {running}")

        yield hear
