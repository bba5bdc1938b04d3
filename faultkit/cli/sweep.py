"""``faultkit sweep`` and ``faultkit replay``: their options, and what can be known to be wrong before anything starts.

Not covered: running them for somebody who waits (`faultkit.cli.run_sweep`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from faultkit.cli.known_options import KNOWN, Known, read, write
from faultkit.cli.options import JSON, together
from faultkit.cli.run_sweep import UsageError, attended_sweep, require_types
from faultkit.messages import seen as shown

if TYPE_CHECKING:
    from faultkit.sweep import Journal, ScheduleChoice
    from faultkit.sweep.replay_input import ReplayInput

__all__ = ["replay", "sweep"]

DIGITS_MAX = 18  # of a thread's number
SHARES_MAX = 100_000

_world_options = together(
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


@click.command()
@click.argument("scenario")
@_world_options
@click.option("--points", "points_globs", multiple=True, metavar="GLOB", help="Points to break. Repeatable.")
@click.option(
    "--moments",
    multiple=True,
    metavar="GLOB",
    help="Moments: before, after, future.  [default: before, future]",
)
@click.option(
    "--actions",
    multiple=True,
    metavar="GLOB",
    help="Standard actions by glob, or any action in full. Repeatable.  "
    "[default: raise(ValueError), of files an OSError]",
)
@click.option("--calls", metavar="CALLS", help="At which calls of a point: 1, 2-4, 3-.  [default: every one]")
@click.option(
    "--pairs", is_flag=True, help="Break two points at a time: each two once, ranks and actions by turns."
)
@click.option(
    "--plan",
    "plan_texts",
    multiple=True,
    metavar="TEXT",
    help="Run this plan, not an enumeration. Repeatable.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Worlds side by side.",
)
@click.option(
    "--every-rank",
    is_flag=True,
    help="Break each rank of a world of more than 64, not four that stand for all.",
)
@click.option(
    "--schedules",
    "drawn",
    type=click.IntRange(1, 1_000_000),
    default=1,
    show_default=True,
    metavar="N",
    help="Run each plan under so many schedules of simulated ranks, from --seed on; the worst counts.",
)
@click.option(
    "--exhaustive",
    "every",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Run each plan under every schedule of simulated ranks, in N runs at most.",
)
@click.option(
    "--resume",
    "journal_path",
    metavar="JOURNAL",
    help="Append each result to JOURNAL as it comes; where it is there, go on from it.",
)
@click.option("--shard", metavar="I/N", help="Only the I-th of N shares of the plans, on a machine of many.")
@click.option(
    "--balance-by",
    metavar="JOURNAL",
    help="Deal shares so that they take as long, by the seconds of JOURNAL.",
)
def sweep(
    scenario: str,
    world_size: int | None,
    kind: str | None,
    launcher: str | None,
    ranks_differ: bool,
    timeout: float,
    seed: int | None,
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
    points_globs: tuple[str, ...],
    moments: tuple[str, ...],
    actions: tuple[str, ...],
    calls: str | None,
    pairs: bool,
    plan_texts: tuple[str, ...],
    jobs: int,
    every_rank: bool,
    drawn: int,
    every: int | None,
    journal_path: str | None,
    shard: str | None,
    balance_by: str | None,
) -> int:
    """Break SCENARIO at each point it comes by, on each rank, one fault at a time.

    SCENARIO is dcp-save, dcp-load, or module:attribute of your own; options follow after commas, as in
    dcp-save,coordinator=1. Points default to those of the scenario, such as 'writer.*' for dcp-save.

    \b
      faultkit sweep dcp-save --actions 'raise*' --actions 'kill(SIGTERM)'
      faultkit sweep dcp-load --points 'planner.*' --points 'reader.read_data:after'
      faultkit sweep mymodel.checkpoint:save --world 2 --report sweep.html
      faultkit sweep mymodel.checkpoint:save --kind simulated --schedules 100
    """
    from faultkit.plan import FaultPlan
    from faultkit.plan.grammar import read_calls
    from faultkit.sweep import DEFAULT_MOMENTS, Schedules, choose_actions, choose_places

    known = read(known_names, write_known)
    if every and drawn > 1:
        raise UsageError("--schedules draws some and --exhaustive runs every one: leave out one of them")
    if (every or drawn > 1) and not _follows_schedules(_first(kind, "warm")):
        name = "--exhaustive" if every else "--schedules"
        raise UsageError(f"{name} needs --kind simulated or auto (got {'warm' if kind is None else kind!r})")
    if plan_texts and (points_globs or moments or actions or calls or pairs):
        raise UsageError(
            "--plan is run instead of an enumeration: leave out --points, --moments, --actions, --calls and --pairs"
        )
    share = _share(shard)
    seconds = _seconds(balance_by, share)
    if journal_path is not None and (why := _refusal_of_journal(journal_path)):
        raise UsageError(why)
    require_types(allow)
    plans = [FaultPlan.parse(text, allow) for text in plan_texts] or None
    chosen = choose_actions(actions, allow) if actions else ()
    if points_globs or moments:
        choose_places(points_globs or ("*",), moments or DEFAULT_MOMENTS)
    return attended_sweep(
        scenario,
        world_size=4 if world_size is None else world_size,
        kind="warm" if kind is None else kind,
        launcher=launcher,
        ranks_differ=ranks_differ,
        timeout=timeout,
        json_path=json_path,
        report_path=report_path,
        points=points_globs,
        moments=moments or DEFAULT_MOMENTS,
        actions=chosen,
        calls=read_calls(calls) if calls is not None else "*",
        pairs=pairs,
        attempts_after=attempts_after or 0,
        plans=plans,
        jobs=jobs,
        every_rank=every_rank,
        seed=seed or 0,
        schedules=Schedules(drawn, every or 0),
        journal_path=journal_path,
        share=share,
        seconds=seconds,
        look_up=_look_up(known),
        **_chosen(checks, no_check, allow_residue, allow_unread, allow_cast),
    )


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
    "--schedule",
    metavar="N,N,...",
    help="The order of simulated ranks, as a report or a sweep's --json has it.",
)
@_world_options
def replay(
    plan_or_file: str,
    scenario: str | None,
    trust: bool,
    script_path: str | None,
    evidence_path: str | None,
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
    if evidence_path is not None:
        _require_evidence(evidence_path, len(replayed.plans))
    orders = _orders(replayed, seed, schedule)
    chosen = _first(kind, replayed.kind, "warm")
    if script_path is not None and (
        why := refusal_of({"--script": script_path, "--json": json_path, "--report": report_path})
    ):
        raise UsageError(why)
    if any(order.schedule is not None for order in orders) and not _follows_schedules(chosen):
        raise UsageError(
            f"a schedule is of simulated ranks: it needs --kind simulated or auto (got {chosen})"
        )
    seen: list[observers.ObservedRun] = []
    is_kept = script_path is not None or evidence_path is not None
    with observers.observe_runs(seen.append if is_kept else lambda _: None):
        status = attended_sweep(
            name,
            world_size=_first(world_size, replayed.world_size, 4),
            kind=chosen,
            launcher=replayed.launcher if launcher is None else launcher,
            ranks_differ=ranks_differ or replayed.ranks_differ,
            timeout=timeout,
            json_path=json_path,
            report_path=report_path,
            plans=list(replayed.plans),
            orders=orders,
            stories=True,
            look_up=_look_up(known),
            attempts_after=_first(attempts_after, replayed.attempts_after),
            **(_chosen(checks, no_check, allow_residue, allow_unread, allow_cast) or replayed.chosen.options),
            probes=False,  # what a run came to, its replay comes to, also that of work which fails by itself
        )
    if script_path is not None:
        _write_script(script_path, [one for one in seen if one.run.plan == replayed.plans[0]], name)
    if evidence_path is not None:
        _write_evidence(evidence_path, [one for one in seen if one.run.plan == replayed.plans[0]])
    return status


def _look_up(known: Known) -> Callable[[Journal], Journal] | None:
    """Says what is known of a journal, and writes what is not; None where nobody asked."""

    def look_up(journal: Journal) -> Journal:
        from faultkit.sweep.knowing import sorted_by

        journal = sorted_by(journal, known.entries)
        if journal.sorted is not None:
            write(known, journal.sorted)
        return journal

    return look_up if known.is_asked else None


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
        raise UsageError("no run was made that could leave evidence")
    try:
        write(seen[-1].run, Path(path))
    except OSError as error:
        raise UsageError(f"{error.filename or path} cannot be written: {error.strerror}") from None
    click.echo(f"what it would have left is in {path}", err=True)


def _share(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, count = text.partition("/")
    is_written = slash and number.isdecimal() and count.isdecimal() and len(text) <= DIGITS_MAX
    if not is_written or not 1 <= int(number) <= int(count) <= SHARES_MAX:
        raise UsageError(f"--shard must be I/N, with I from 1 to N, such as 2/8 (got {shown(text)})")
    return int(number), int(count)


def _seconds(path: str | None, share: tuple[int, int] | None) -> dict[str, float] | None:
    if path is None:
        return None
    if share is None:
        raise UsageError("--balance-by is about shares: say which with --shard")
    from faultkit.exceptions import JournalError
    from faultkit.sweep.journal_file import seconds_in

    try:
        return seconds_in(path)
    except JournalError as error:
        raise UsageError(str(error)) from None


def _refusal_of_journal(path: str) -> str:
    from faultkit.exceptions import JournalError
    from faultkit.report.output import refusal_of
    from faultkit.sweep.journal_file import read_journal

    if why := refusal_of({"--resume": path}):
        return why
    if os.path.exists(path) and not os.path.isfile(path):
        return f"--resume must name a file (got {shown(path)})"
    if os.path.isfile(path) and os.path.getsize(path):
        try:
            read_journal(path)
        except JournalError as error:
            return str(error)
    return ""


def _follows_schedules(kind: str) -> bool:
    from faultkit.worlds.kinds import KINDS

    return kind in KINDS and KINDS[kind].follows_schedules


def _first(*values: Any) -> Any:
    """The first that was given; nothing, 0 and '' are given, too, and refused where they cannot be meant."""
    return next(value for value in values if value is not None)


def _chosen(checks: tuple[str, ...], no_check: tuple[str, ...], *allowed: tuple[str, ...]) -> dict[str, Any]:
    """The options, where any of them is given, as arguments of a sweep."""
    from faultkit.runs.selection import ALL, Chosen

    try:
        chosen = Chosen(_names(checks), _names(no_check), *allowed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return {} if chosen == ALL else chosen.options


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts for name in text.split(","))


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


def _write_script(path: str, seen: list[Any], scenario: str) -> None:
    """Write the plain script of the last of `seen`, a run of `scenario`."""
    from faultkit.repro.script import ScriptError, plain_script
    from faultkit.scenarios import get
    from faultkit.whole_files import write_whole

    if not seen:
        return  # it was interrupted
    *_, one = seen
    try:
        text = plain_script(one.run, one.function, one.args, one.kwargs, prepare=get(scenario).prepare)
        write_whole(path, text)
    except ScriptError as error:
        raise UsageError(f"this run has no plain script: {error}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"the plain script is in {path}", err=True)
