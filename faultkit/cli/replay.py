"""``faultkit replay``: its options, and what can be known to be wrong before anything starts.

Not covered: running it for somebody who waits (`faultkit.cli.run_sweep`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from faultkit.cli.known_options import read
from faultkit.cli.run_sweep import UsageError, attended_sweep, require_types
from faultkit.cli.streams import write_found
from faultkit.cli.sweep_options import (
    DIGITS_MAX,
    WORLD_OPTIONS,
    chosen_from,
    first,
    follows_schedules,
    look_up_in,
)
from faultkit.messages import seen as shown

if TYPE_CHECKING:
    from faultkit.sweep import ScheduleChoice
    from faultkit.sweep.replay_input import ReplayInput

__all__ = ["replay"]


@click.command()
@click.argument("plan_or_file")
@click.option(
    "--scenario",
    metavar="SCENARIO",
    help="What to break.  [default: as in the file, else by the plan's points]",
)
@click.option(
    "--trust", is_flag=True, help="Run the scenario that FILE names, also one that is not faultkit's own."
)
@click.option(
    "--script",
    "script_path",
    metavar="FILE",
    help="Write the run as a plain script that needs torch alone.",
)
@click.option(
    "--evidence",
    "evidence_path",
    metavar="DIR",
    help="Write what a cluster would have left of the run, into a new folder.",
)
@click.option(
    "--issue",
    "issue_path",
    metavar="FILE",
    help="Write the draft of a report to who maintains the engine, without paths and names of this machine.",
)
@click.option("--issue-names", is_flag=True, help="Leave paths and names of this machine in the draft.")
@click.option(
    "--schedule",
    metavar="N,N,...",
    help="The order of simulated ranks, as a report or a sweep's --json has it.",
)
@WORLD_OPTIONS
def replay(
    plan_or_file: str,
    scenario: str | None,
    trust: bool,
    script_path: str | None,
    evidence_path: str | None,
    issue_path: str | None,
    issue_names: bool,
    world_size: int | None,
    kind: str | None,
    launcher: str | None,
    ranks_differ: bool,
    timeout: float,
    seed: int | None,
    schedule: str | None,
    allow: tuple[str, ...],
    attempts_after: int | None,
    checks: tuple[str, ...],
    no_check: tuple[str, ...],
    allow_residue: tuple[str, ...],
    known_names: tuple[str, ...],
    write_known: str | None,
    allow_unread: tuple[str, ...],
    allow_cast: tuple[str, ...],
    json_path: str | None,
    report_path: str | None,
) -> int:
    """Run PLAN_OR_FILE again, and tell what every rank saw.

    PLAN_OR_FILE is the text of a plan, a file with a plan as text or JSON, one entry of the "plans" of
    a sweep's --json output, or that output as a whole; - reads standard input. The scenario, the world and
    its kind come from the options, else from the file, where module:attribute needs --trust. Else a plan
    that breaks a point of a load (reader.*, planner.load_bytes and the like) is run on dcp-load, any other
    on dcp-save, on 4 ranks.

    --script writes the run as a script that any Python with torch runs, for a report to who maintains the engine.
    --evidence writes what a cluster would have left of it, a log, a launcher's summary and stacks.
    """
    from faultkit.report.output import refusal_of
    from faultkit.scenario_text import is_named
    from faultkit.scenarios import scenario_for_plan
    from faultkit.sweep.replay_input import read_replay_input
    from faultkit.worlds import observers

    known = read(known_names, write_known)
    require_types(allow)
    replayed = read_replay_input(plan_or_file, allow)
    name = replayed.scenario if scenario is None else scenario
    if scenario is None and name is not None and is_named(name) and not trust:
        raise UsageError(
            f"{plan_or_file} would run the scenario {name!r}, which is none of faultkit's own: "
            "say --trust if you trust who wrote it, or name it with --scenario"
        )
    if name is None:
        joined = sum(replayed.plans, start=type(replayed.plans[0])())
        name = scenario_for_plan(joined).name
    if script_path is not None and len(replayed.plans) > 1:
        raise UsageError(f"--script is of one plan (got {len(replayed.plans)})")
    if issue_path is not None and len(replayed.plans) > 1:
        raise UsageError(f"--issue is of one plan (got {len(replayed.plans)})")
    if evidence_path is not None:
        _require_evidence(evidence_path, len(replayed.plans))
    orders = _orders(replayed, seed, schedule)
    chosen = first(kind, replayed.kind, "warm")
    written = {"--script": script_path, "--issue": issue_path, "--json": json_path, "--report": report_path}
    if (script_path is not None or issue_path is not None) and (why := refusal_of(written)):
        raise UsageError(why)
    if any(order.schedule is not None for order in orders) and not follows_schedules(chosen):
        raise UsageError(
            f"a schedule is of simulated ranks: it needs --kind simulated or auto (got {chosen})"
        )
    seen: list[observers.ObservedRun] = []
    is_kept = any(path is not None for path in (script_path, evidence_path, issue_path))
    with observers.observe_runs(seen.append if is_kept else lambda _: None):
        status = attended_sweep(
            name,
            world_size=first(world_size, replayed.world_size, 4),
            kind=chosen,
            launcher=replayed.launcher if launcher is None else launcher,
            ranks_differ=ranks_differ or replayed.ranks_differ,
            timeout=timeout,
            json_path=json_path,
            report_path=report_path,
            plans=list(replayed.plans),
            orders=orders,
            stories=True,
            look_up=look_up_in(known),
            attempts_after=first(attempts_after, replayed.attempts_after),
            **(
                chosen_from(checks, no_check, allow_residue, allow_unread, allow_cast)
                or replayed.chosen.options
            ),
            probes=False,  # what a run came to, its replay comes to, also that of work which fails by itself
        )
    of_the_plan = [one for one in seen if one.run.plan == replayed.plans[0]]
    if script_path is not None:
        _write_script(script_path, of_the_plan, name)
    if evidence_path is not None:
        _write_evidence(evidence_path, of_the_plan)
    if issue_path is not None:
        _write_issue(issue_path, of_the_plan, name, with_names=issue_names)
    return status


def _require_evidence(path: str, count: int) -> None:
    if count > 1:
        raise UsageError(f"--evidence is of one plan (got {count})")
    if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
        raise UsageError(f"--evidence must name a folder that is empty or not there (got {path!r})")


def _write_evidence(path: str, seen: list[Any]) -> None:
    """Write what the last of `seen` would have left."""
    from pathlib import Path

    from faultkit.evidence.writing import write

    if not seen:
        return  # it was interrupted
    try:
        write(seen[-1].run, Path(path))
    except OSError as error:
        raise UsageError(f"{error.filename or path} cannot be written: {error.strerror}") from None
    click.echo(f"what it would have left is in {path}", err=True)


def _orders(replayed: ReplayInput, seed: int | None, schedule: str | None) -> list[ScheduleChoice]:
    """The order of each plan: what the options say, else what the file does."""
    from faultkit.runs.replay_command import SCHEDULE_SEPARATOR
    from faultkit.sweep import ScheduleChoice

    choices = None
    if schedule is not None:
        words = schedule.split(SCHEDULE_SEPARATOR)
        if not all(word.strip().isdecimal() and len(word) <= DIGITS_MAX for word in words):
            raise UsageError(
                f"--schedule must be numbers of threads with commas between them (got {shown(schedule)})"
            )
        choices = tuple(map(int, words))
    told = replayed.orders or (ScheduleChoice(),) * len(replayed.plans)
    return [
        ScheduleChoice(order.seed if seed is None else seed, order.schedule if choices is None else choices)
        for order in told
    ]


def _script_of(one: Any, scenario: str) -> str:
    """The plain script of a run of `scenario`.  Raises ScriptError."""
    from faultkit.repro.script import plain_script
    from faultkit.scenarios import get

    return plain_script(one.run, one.function, one.args, one.kwargs, prepare=get(scenario).prepare)


def _write_script(path: str, seen: list[Any], scenario: str) -> None:
    """Write the plain script of the last of `seen`, a run of `scenario`."""
    from faultkit.repro.script import ScriptError

    if not seen:
        return  # it was interrupted
    try:
        text = _script_of(seen[-1], scenario)
    except ScriptError as error:
        raise UsageError(f"this run has no plain script: {error}") from None
    write_found(path, text)
    click.echo(f"the plain script is in {path}", err=True)


def _write_issue(path: str, seen: list[Any], scenario: str, *, with_names: bool) -> None:
    """Write the draft of a report of the last of `seen`."""
    from faultkit.repro.issue import issue_draft
    from faultkit.repro.script import ScriptError

    if not seen:
        return  # it was interrupted
    script, why = "", ""
    try:
        script = _script_of(seen[-1], scenario)
    except ScriptError as error:
        why = str(error)
    run = seen[-1].run
    text = issue_draft(run, scenario=scenario, script=script, why_no_script=why, with_names=with_names)
    write_found(path, text)
    click.echo(f"the draft of a report is in {path}", err=True)
