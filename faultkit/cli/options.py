"""Options that several commands have, and options that are put onto a command together.

Not covered: what they mean for a command, which its own module says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["JSON", "together"]

JSON = click.option(
    "--json", "json_path", metavar="PATH", help="Write all results as one JSON object; - is stdout."
)


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One decorator for all of `options`, which the help lists in this order."""

    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


JOURNAL_HELP = "Append what is found to JOURNAL as it comes; where it is there, go on from it."
RESUME = click.option("--resume", "journal_path", metavar="JOURNAL", help=JOURNAL_HELP)
