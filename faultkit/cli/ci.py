"""What a command adds to the job of a CI service that shows more than a log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import click

__all__ = ["tell_ci"]


def tell_ci(title: str, totals: Mapping[str, int], rows: Iterable[tuple[str, str, str, str]]) -> None:
    """Under GitHub Actions a summary of the job and annotations (`faultkit.report.github`); elsewhere asks no row."""
    from faultkit.report import github

    for line in github.tell(title, totals, rows):
        click.echo(line, err=True)
