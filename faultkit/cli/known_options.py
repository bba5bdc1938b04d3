"""``--known`` and ``--write-known``, as every campaign has them: read before anything starts, written at its end.

Guarantees: a file that is none is a `UsageError`, one line, before anything runs.  What is written is what the campaign
found and nobody knew; its exit status stays as it is.  Not covered: what each campaign looks up (`faultkit.known`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import click

from faultkit.cli.options import together
from faultkit.cli.run_sweep import UsageError

if TYPE_CHECKING:
    from faultkit.known.entries import Entry
    from faultkit.known.sorting import Sorted

__all__ = ["KNOWN", "Known", "read", "shown", "write"]

KNOWN = together(
    click.option(
        "--known",
        "known_names",
        multiple=True,
        metavar="FILE",
        help="Violations that are accepted, by FILE; builtin: the engines' known defects. Repeatable.",
    ),
    click.option(
        "--write-known",
        "write_known",
        metavar="FILE",
        help="Add an entry to FILE for each violation that is not known yet.",
    ),
)


class Known(NamedTuple):
    """What is known, () where nobody asked; and where to write what is not."""

    entries: tuple[Entry, ...] = ()
    is_asked: bool = False
    write_path: str | None = None


def read(names: Iterable[str], write_path: str | None) -> Known:
    """What the options say.  Raises UsageError."""
    names = tuple(names)
    if not names and write_path is None:
        return Known()
    from faultkit.exceptions import KnownError
    from faultkit.known.reading import read_known
    from faultkit.known.writing import refusal_to_add

    try:
        entries = read_known(names)
    except KnownError as error:
        raise UsageError(f"--known: {error}") from None
    if write_path is not None:
        from faultkit.report.output import refusal_of

        if why := refusal_of({"--write-known": write_path}) or refusal_to_add(write_path):
            raise UsageError(why)
    return Known(entries, True, write_path)


def write(known: Known, found: Sorted) -> None:
    """Add what nobody knows to the file that is to be written.  Raises UsageError."""
    if known.write_path is None:
        return
    from faultkit.exceptions import KnownError
    from faultkit.known.writing import DAYS_ACCEPTED, add_known

    try:
        names = add_known(known.write_path, found.unaccepted)
    except (KnownError, OSError) as error:
        raise UsageError(f"{known.write_path} cannot be written: {error}") from None
    count = f"{len(names)} entr{'y' if len(names) == 1 else 'ies'}"
    how = f", accepted for {DAYS_ACCEPTED} days: write a reason for each" if names else ""
    click.echo(f"{count} added to {known.write_path}{how}", err=True)


def shown(found: Sorted | None) -> list[str]:
    """The lines to show of `found`; [] where nobody asked."""
    if found is None:
        return []
    from faultkit.report.known import lines

    return lines(found)
