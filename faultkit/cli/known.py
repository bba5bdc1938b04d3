"""The commands ``faultkit known`` and ``faultkit compare``.

Exit status of compare: 0 nothing is new or worse, 1 something is, 2 what cannot be compared.  Not covered: entries, and
comparing (`faultkit.known`).
"""

from __future__ import annotations

import json

import click

from faultkit.cli.run_sweep import BROKEN, HELD, UsageError

__all__ = ["compare", "known"]


@click.command()
@click.argument("checkpointer", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead.")
def known(checkpointer: str | None, as_json: bool) -> int:
    """List the known defects of what is installed, or those that CHECKPOINTER shows.

    CHECKPOINTER is a name of `faultkit checkpointers`, or module:attribute of your own, of which those of the stock
    engine are told.

    \b
      faultkit known
      faultkit known dcp-async
      faultkit sweep dcp.save --known builtin
    """
    from faultkit.known.reading import catalogue
    from faultkit.report.known import defects_as_json, listed_defects

    entries = catalogue()
    if checkpointer is not None:
        _require_checkpointer(checkpointer)
        entries = tuple(entry for entry in entries if entry.concerns(checkpointer))
    click.echo(defects_as_json(entries) if as_json else listed_defects(entries))
    return HELD


def _require_checkpointer(text: str) -> None:
    from faultkit.checkpointers.catalogue import BUILT_IN
    from faultkit.messages import listed, nearest, seen
    from faultkit.scenario_text import is_named

    if not is_named(text) and not BUILT_IN.has(text):
        raise UsageError(
            f"unknown checkpointer {seen(text)}; checkpointers are {listed(BUILT_IN.homes)}, or module:attribute"
            f"{nearest(text, BUILT_IN.homes)}"
        )


@click.command()
@click.argument("before", metavar="A.json")
@click.argument("after", metavar="B.json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead.")
def compare(before: str, after: str, as_json: bool) -> int:
    """Tell what B.json found that A.json did not, and the other way round.

    Both are what --json of sweep, crash, damage or history wrote, of the same scenario on as many ranks: before and
    after an upgrade of torch, or a pull request.

    \b
      faultkit sweep dcp.save --json before.json
      faultkit sweep dcp.save --json after.json
      faultkit compare before.json after.json
    """
    from faultkit.exceptions import KnownError
    from faultkit.known.comparing import compare as compare_found
    from faultkit.known.comparing import read_found
    from faultkit.report.known import compared

    try:
        found = compare_found(read_found(before), read_found(after))
    except KnownError as error:
        raise UsageError(str(error)) from None
    click.echo(json.dumps(found.to_builtins(), indent=1) if as_json else "\n".join(compared(found)))
    return HELD if found.held else BROKEN
