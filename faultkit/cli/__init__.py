"""The ``faultkit`` command: points, sweep and replay.

Exit status: 0 every check held, 1 a promise was broken, 2 bad usage or bad input, 3 the harness itself
failed, 130 interrupted.  A mistake is one line on standard error.  Importing this module imports click and
nothing of the engine; each command imports what it needs.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from faultkit.attended import BROKEN, HELD, INTERRUPTED, USAGE, Mistake, attended_sweep, fail, say
from faultkit.cli.scale import scale
from faultkit.cli.storage import crash, damage

if TYPE_CHECKING:
    from faultkit.sweep import Order
    from faultkit.sweep.recipe import Recipe

__all__ = ["command", "main"]


class _Commands(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from faultkit.wording import listed, nearest, seen

            names = self.list_commands(ctx)
            raise Mistake(
                f"unknown command {seen(args[0])}; commands are {listed(names)}{nearest(args[0], names)}"
            )
        return super().resolve_command(ctx, args)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # a terminal that knows no dot still gets its report
    try:
        status = _invoke(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read the output has seen enough; nothing may be written at the end of the interpreter either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = BROKEN
    sys.exit(status)


def _invoke(arguments: Sequence[str] | None) -> int:
    from faultkit.wording import PlanError

    try:
        status = command.main(arguments, prog_name="faultkit", standalone_mode=False)
        return status if isinstance(status, int) else HELD
    except click.exceptions.Exit as exit_request:
        return exit_request.exit_code
    except click.ClickException as error:
        return say(error.format_message(), USAGE)
    except PlanError as error:
        return say(str(error), USAGE)
    except (KeyboardInterrupt, click.Abort):
        return say("interrupted", INTERRUPTED)
    except (BrokenPipeError, GeneratorExit):
        raise
    except Exception as error:
        return fail(error)


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import faultkit

        click.echo(f"faultkit {faultkit.__version__}")
        ctx.exit()


@click.group(
    cls=_Commands,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Break a distributed checkpoint on purpose, and prove what every rank saw.

    \b
      faultkit points                       what can break, where and how
      faultkit sweep dcp-save --world 4     break each point on each rank
      faultkit replay 'writer.write_data@2=raise(ValueError)'
      faultkit crash dcp-overwrite          load every state that a crash could leave
      faultkit damage dcp-save              damage a finished checkpoint, see what a load notices

    Exit status: 0 every check held, 1 a promise was broken, 2 bad usage or bad input, 3 the harness itself
    failed, 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead.")
def points(as_json: bool) -> None:
    """List the injection points, the actions, and the roles that ranks can be named by."""
    from faultkit.report import listing

    click.echo(listing.as_json() if as_json else listing.as_text(_width()))


_WORLD_OPTIONS = (
    click.option("--world", "world_size", type=int, metavar="N", help="Ranks of the world.  [default: 4]"),
    click.option(
        "--kind",
        metavar="KIND",
        help="World: warm, fresh, spawn, simulated, or auto: simulated, and what breaks there again on fresh."
        "  [default: warm]",
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
        "--json", "json_path", metavar="PATH", help="Write all results as one JSON object; - is stdout."
    ),
    click.option("--report", "report_path", metavar="PATH", help="Write a page (.html) or a picture (.svg)."),
)


def _world_options(function: Any) -> Any:
    for option in reversed(_WORLD_OPTIONS):
        function = option(function)
    return function


@command.command()
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
    help="Standard actions by glob, or any action in full. Repeatable.  [default: raise(ValueError)]",
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
def sweep(
    scenario: str,
    world_size: int | None,
    kind: str | None,
    timeout: float,
    seed: int | None,
    allow: tuple[str, ...],
    json_path: str | None,
    report_path: str | None,
    points_globs: tuple[str, ...],
    moments: tuple[str, ...],
    actions: tuple[str, ...],
    plan_texts: tuple[str, ...],
    jobs: int,
    every_rank: bool,
    drawn: int,
    every: int | None,
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
    from faultkit.sweep import DEFAULT_ACTIONS, DEFAULT_MOMENTS, Schedules, choose_actions, choose_places

    if every and drawn > 1:
        raise Mistake("--schedules draws some and --exhaustive runs every one: leave out one of them")
    if (every or drawn > 1) and kind not in ("simulated", "auto"):
        name = "--exhaustive" if every else "--schedules"
        raise Mistake(f"{name} needs --kind simulated or auto (got {kind or 'warm'})")
    if plan_texts and (points_globs or moments or actions):
        raise Mistake("--plan is run instead of an enumeration: leave out --points, --moments and --actions")
    plans = [FaultPlan.parse(text, allow) for text in plan_texts] or None
    chosen = choose_actions(actions or DEFAULT_ACTIONS, allow)
    if points_globs or moments:
        choose_places(points_globs or ("*",), moments or DEFAULT_MOMENTS)
    return attended_sweep(
        scenario,
        world_size=4 if world_size is None else world_size,
        kind=kind or "warm",
        timeout=timeout,
        json_path=json_path,
        report_path=report_path,
        points=points_globs,
        moments=moments or DEFAULT_MOMENTS,
        actions=chosen,
        plans=plans,
        allow=allow,
        jobs=jobs,
        every_rank=every_rank,
        seed=seed or 0,
        schedules=Schedules(drawn, every or 0),
    )


@command.command()
@click.argument("plan_or_file")
@click.option(
    "--scenario",
    metavar="SCENARIO",
    help="What to break.  [default: as in the file, else by the plan's points]",
)
@click.option(
    "--script",
    "script_path",
    metavar="FILE",
    help="Write the run as a plain script that needs torch alone.",
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
    script_path: str | None,
    world_size: int | None,
    kind: str | None,
    timeout: float,
    seed: int | None,
    schedule: str | None,
    allow: tuple[str, ...],
    json_path: str | None,
    report_path: str | None,
) -> int:
    """Run PLAN_OR_FILE again, and tell what every rank saw.

    PLAN_OR_FILE is the text of a plan, a file with a plan as text or JSON, one entry of the "plans" of
    a sweep's --json output, or that output as a whole; - reads standard input. The scenario, the world and
    its kind come from the options, else from the file. Else a plan that breaks a point of a load (reader.*,
    planner.load_bytes and the like) is run on dcp-load, any other on dcp-save, on 4 ranks.

    --script writes the run as a script that any Python with torch runs, for a report to who maintains the engine.
    """
    from faultkit.scenarios import scenario_for_plan
    from faultkit.sweep.recipe import read_recipe
    from faultkit.worlds import witness

    recipe = read_recipe(plan_or_file, allow)
    name = scenario or recipe.scenario
    if name is None:
        joined = sum(recipe.plans, start=type(recipe.plans[0])())
        name = scenario_for_plan(joined).name
    if script_path is not None and len(recipe.plans) > 1:
        raise Mistake(f"--script is of one plan (got {len(recipe.plans)})")
    orders = _orders(recipe, seed, schedule)
    chosen = kind or recipe.kind or "warm"
    if any(order.schedule is not None for order in orders) and chosen not in ("simulated", "auto"):
        raise Mistake(f"a schedule is of simulated ranks: it needs --kind simulated or auto (got {chosen})")
    seen: list[witness.Witnessed] = []
    with witness.witnessed(seen.append if script_path is not None else lambda _: None):
        status = attended_sweep(
            name,
            world_size=world_size or recipe.world_size or 4,
            kind=chosen,
            timeout=timeout,
            json_path=json_path,
            report_path=report_path,
            plans=list(recipe.plans),
            orders=orders,
            allow=allow,
            stories=True,
            probes=False,  # what a run came to, its replay comes to, also that of work which fails by itself
        )
    if script_path is not None:
        _write_script(script_path, [one for one in seen if one.run.plan == recipe.plans[0]], name)
    return status


def _orders(recipe: Recipe, seed: int | None, schedule: str | None) -> list[Order]:
    """The order of each plan: what the options say, else what the file does."""
    from faultkit.replay_line import SCHEDULE_SEPARATOR
    from faultkit.sweep import Order

    choices = None
    if schedule is not None:
        words = schedule.split(SCHEDULE_SEPARATOR)
        if not all(word.strip().isdecimal() for word in words):
            raise Mistake(
                f"--schedule must be numbers of threads with commas between them (got {schedule!r})"
            )
        choices = tuple(map(int, words))
    told = recipe.orders or (Order(),) * len(recipe.plans)
    return [
        Order(order.seed if seed is None else seed, order.schedule if choices is None else choices)
        for order in told
    ]


def _write_script(path: str, seen: list[Any], scenario: str) -> None:
    """Write the plain script of the last of `seen`, a run of `scenario`."""
    from faultkit.report.script import ScriptError, plain_script
    from faultkit.scenarios import get

    if not seen:
        return  # it was interrupted
    *_, one = seen
    try:
        text = plain_script(one.run, one.function, one.args, one.kwargs, prepare=get(scenario).prepare)
        pathlib.Path(path).write_text(text, encoding="utf-8")
    except ScriptError as error:
        raise Mistake(f"this run has no plain script: {error}") from None
    except OSError as error:
        raise Mistake(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"the plain script is in {path}", err=True)


command.add_command(crash)
command.add_command(damage)
command.add_command(scale)


def _width() -> int | None:
    """The terminal's width; None where lines may be as long as they are."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
