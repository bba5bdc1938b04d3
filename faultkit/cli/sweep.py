"""``faultkit sweep``: its options, and what can be known to be wrong before anything starts.

Not covered: running it for somebody who waits (`faultkit.cli.run_sweep`).
"""

from __future__ import annotations

import os

import click

from faultkit.cli.known_options import read
from faultkit.cli.run_sweep import UsageError, attended_sweep, reason_of, require_types
from faultkit.cli.sweep_options import (
    DIGITS_MAX,
    WORLD_OPTIONS,
    chosen_from,
    first,
    follows_schedules,
    look_up_in,
)
from faultkit.messages import seen as shown

__all__ = ["sweep"]

SHARES_MAX = 100_000
JOBS_MAX = 64


@click.command()
@click.argument("scenario")
@WORLD_OPTIONS
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
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Worlds side by side; with --executor, chunks.  [default: 1; as many as there are workers]",
)
@click.option(
    "--executor",
    metavar="NAME[:WHERE]",
    help="Who runs the plans, in chunks: processes, ray[:ADDRESS], dask:ADDRESS or submitit[:NAME=VALUE,...].",
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
    jobs: int | None,
    executor: str | None,
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
    if (every or drawn > 1) and not follows_schedules(first(kind, "warm")):
        name = "--exhaustive" if every else "--schedules"
        raise UsageError(f"{name} needs --kind simulated or auto (got {'warm' if kind is None else kind!r})")
    if plan_texts and (points_globs or moments or actions or calls or pairs):
        raise UsageError(
            "--plan is run instead of an enumeration: leave out --points, --moments, --actions, --calls and --pairs"
        )
    if executor is None and (jobs or 1) > JOBS_MAX:
        raise UsageError(f"--jobs must be at most {JOBS_MAX} worlds on one machine (got {jobs})")
    if executor is not None:
        from faultkit.sweep.executors import require_executor

        try:
            require_executor(executor)
        except ValueError as error:
            raise UsageError(f"--{reason_of(error)}") from None
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
        executor=executor,
        every_rank=every_rank,
        seed=seed or 0,
        schedules=Schedules(drawn, every or 0),
        journal_path=journal_path,
        share=share,
        seconds=seconds,
        look_up=look_up_in(known),
        **chosen_from(checks, no_check, allow_residue, allow_unread, allow_cast),
    )


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
