"""The options that ``faultkit sweep`` and ``faultkit replay`` share, and what becomes of them.

Not covered: the options of one of them alone, which stand in its own module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from faultkit.cli.known_options import KNOWN, Known, write
from faultkit.cli.options import JSON, together
from faultkit.cli.run_sweep import UsageError

if TYPE_CHECKING:
    from faultkit.sweep import Journal

__all__ = ["DIGITS_MAX", "WORLD_OPTIONS", "chosen_from", "first", "follows_schedules", "look_up_in"]

DIGITS_MAX = 18  # of a number in a text, such as that of a thread

WORLD_OPTIONS = together(
    click.option("--world", "world_size", type=int, metavar="N", help="Ranks of the world.  [default: 4]"),
    click.option(
        "--kind",
        metavar="KIND",
        help="World: warm, fresh, spawn, simulated, or auto: simulated, and what breaks there again on fresh."
        "  [default: warm]",
    ),
    click.option(
        "--launcher",
        metavar="NAME",
        help="Who keeps the job: torchrun ends the other ranks once one has failed, with none nobody does."
        "  [default: torchrun]",
    ),
    click.option(
        "--ranks-differ",
        is_flag=True,
        help="Each rank has a seed of its own, and so draws what no other draws, as in life.",
    ),
    click.option(
        "--timeout", type=float, default=30.0, show_default=True, metavar="SECONDS", help="Bound of each run."
    ),
    click.option(
        "--seed",
        type=int,
        metavar="N",
        help="Of random states, and of what simulated ranks do when.  [default: 0]",
    ),
    click.option(
        "--allow",
        multiple=True,
        metavar="MODULE:NAME",
        help="An exception type that plans may name. Repeatable.",
    ),
    click.option(
        "--attempts-after",
        type=int,
        metavar="N",
        help="Do it again N times without a fault, on the same ranks, after each plan.  [default: 0]",
    ),
    click.option(
        "--checks",
        multiple=True,
        metavar="NAME,...",
        help="The promises that count, such as liveness,agreement. Repeatable.  [default: all]",
    ),
    click.option(
        "--no-check",
        multiple=True,
        metavar="NAME,...",
        help="Promises that do not count, such as leaks. Repeatable.",
    ),
    click.option(
        "--allow-residue",
        multiple=True,
        metavar="GLOB",
        help="What the check leaks may find, such as 'thread fsspecIO'. Repeatable.",
    ),
    KNOWN,
    click.option(
        "--allow-unread",
        multiple=True,
        metavar="GLOB",
        help="Names in a checkpoint that need not be taken back, such as 'optimizer.*'. Repeatable.",
    ),
    click.option(
        "--allow-cast",
        multiple=True,
        metavar="GLOB",
        help="Names in a checkpoint that may come back as another dtype. Repeatable.",
    ),
    JSON,
    click.option("--report", "report_path", metavar="PATH", help="Write a page (.html) or a picture (.svg)."),
)


def look_up_in(known: Known) -> Callable[[Journal], Journal] | None:
    """Says what is known of a journal, and writes what is not; None where nobody asked."""

    def look_up(journal: Journal) -> Journal:
        from faultkit.sweep.knowing import sorted_by

        journal = sorted_by(journal, known.entries)
        if journal.sorted is not None:
            write(known, journal.sorted)
        return journal

    return look_up if known.is_asked else None


def follows_schedules(kind: str) -> bool:
    from faultkit.worlds.kinds import KINDS

    return kind in KINDS and KINDS[kind].follows_schedules


def first(*values: Any) -> Any:
    """The first that was given; nothing, 0 and '' are given, too, and refused where they cannot be meant."""
    return next(value for value in values if value is not None)


def chosen_from(
    checks: tuple[str, ...], no_check: tuple[str, ...], *allowed: tuple[str, ...]
) -> dict[str, Any]:
    """The options, where any of them is given, as arguments of a sweep."""
    from faultkit.runs.selection import ALL, Chosen

    try:
        chosen = Chosen(_names(checks), _names(no_check), *allowed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return {} if chosen == ALL else chosen.options


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts for name in text.split(","))
