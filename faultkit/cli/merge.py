"""The command ``faultkit merge``: one report of the journals of many shares.

Exit status: 0 every check held, 1 a promise was broken, 2 bad input.  Not covered: making journals (``faultkit sweep
--resume JOURNAL --shard I/N``).
"""

from __future__ import annotations

import click

from faultkit.cli.known_options import KNOWN, read, write
from faultkit.cli.options import JSON
from faultkit.cli.run_sweep import BROKEN, HELD, UsageError

__all__ = ["merge"]


@click.command()
@click.argument("journals", nargs=-1, required=True, metavar="JOURNAL...")
@KNOWN
@JSON
@click.option("--report", "report_path", metavar="PATH", help="Write a page (.html) or a matrix (.svg).")
def merge(
    journals: tuple[str, ...],
    known_names: tuple[str, ...],
    write_known: str | None,
    json_path: str | None,
    report_path: str | None,
) -> int:
    """Make one report of the JOURNALs of a sweep, whose shares may have run on many machines.

    \b
      faultkit sweep dcp-save --shard 1/2 --resume one.jsonl
      faultkit sweep dcp-save --shard 2/2 --resume two.jsonl
      faultkit merge one.jsonl two.jsonl --report sweep.html
    """
    from faultkit.exceptions import JournalError
    from faultkit.report import output
    from faultkit.sweep.journal_file import merged
    from faultkit.sweep.knowing import sorted_by

    if why := output.refusal(json_path, report_path):
        raise UsageError(why)
    known = read(known_names, write_known)
    try:
        journal = merged(journals)
    except JournalError as error:
        raise UsageError(str(error)) from None
    if known.is_asked:
        journal = sorted_by(journal, known.entries)
    output.write(journal, json_path, report_path)
    output.show(journal, stories=False, to_stderr=json_path == "-")
    if journal.sorted is not None:
        write(known, journal.sorted)
    return HELD if journal.is_accepted else BROKEN
