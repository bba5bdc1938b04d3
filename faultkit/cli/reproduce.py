"""The command ``faultkit reproduce``: from what a cluster left to the plan that gives the same picture.

Exit status: 0 a candidate gives the picture, 1 none does, 2 what was given is no evidence, or bad usage, 3 the harness
itself failed, 130 interrupted.  Not covered: reading and trying (`faultkit.evidence`).
"""

from __future__ import annotations

from typing import Any

import click

from faultkit import endings
from faultkit.cli.options import JSON
from faultkit.cli.run_sweep import BROKEN, HELD, UsageError, search_here
from faultkit.cli.streams import write_json
from faultkit.messages import printable
from faultkit.report.progress import following

__all__ = ["reproduce"]

RANKS_MAX = 1024


@click.command()
@click.argument("evidence", nargs=-1, required=True, metavar="EVIDENCE...")
@click.option(
    "--scenario",
    metavar="SCENARIO",
    help="What the job does.  [default: the built-in save or load that fits]",
)
@click.option(
    "--world",
    "world_size",
    type=click.IntRange(2, RANKS_MAX),
    metavar="N",
    help="Ranks that try it.  [default: those of the job, or a few that stand for many]",
)
@JSON
@click.option(
    "--report",
    "report_path",
    metavar="PATH",
    help="Write a page (.html): what was left beside what each plan did.",
)
def reproduce(
    evidence: tuple[str, ...],
    scenario: str | None,
    world_size: int | None,
    json_path: str | None,
    report_path: str | None,
) -> int:
    """Read what a job left (logs, error files, flight recorders, stacks), and find the plan that does the same.

    EVIDENCE are files and folders, of any mix, compressed or not. What each rank shows, where it began and who waits
    for whom is told in any case; then each plan that could have done it is run, and what its ranks show is compared.
    Nothing in the evidence is run.

    \b
      faultkit reproduce console.log elastic/ dumps/
      faultkit reproduce night.log.gz --scenario mymodel.checkpoint:MINE.save --json found.json
    """
    from faultkit.evidence import EvidenceError, read, tell
    from faultkit.evidence.rendering import as_json, as_text
    from faultkit.report.output import refusal
    from faultkit.torch_versions import require_torch

    if why := refusal(json_path, report_path):
        raise UsageError(why)
    with endings.in_order():
        try:
            with following("reading the evidence") as say_where:

                def reading(name: str, count: int) -> None:
                    say_where(f"reading {name}", count >> 20, unit="MiB")

                told = tell(read(evidence, on_progress=reading))
                require_torch()
                say_where("trying the plans that could have done it")
                found = _found(told, scenario, world_size)
        except EvidenceError as error:
            raise UsageError(str(error)) from None
        except KeyboardInterrupt:
            return endings.tell()
    click.echo(printable(as_text(found)), err=json_path == "-")
    write_json(json_path, as_json(found))
    if report_path is not None:
        from faultkit.report.evidence_page import as_html
        from faultkit.whole_files import write_whole

        write_whole(report_path, as_html(found))
    return HELD if found.best is not None else BROKEN


def _found(told: Any, scenario: str | None, world_size: int | None) -> Any:
    from faultkit.evidence.trying import reproduce as try_all

    if scenario is not None:
        search_here(scenario)
    return try_all(told, scenario=scenario, world=world_size)
