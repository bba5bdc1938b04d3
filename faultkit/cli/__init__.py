"""The ``faultkit`` command, and the status with which it exits.

Exit status: 0 every check held, 1 a promise was broken, 2 bad usage or bad input, 3 the harness itself
failed, 130 interrupted.  A mistake is one line on standard error.  Importing this module imports click and
nothing of the engine; each command imports what it needs.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from faultkit import endings
from faultkit.cli import completion
from faultkit.cli.check import check
from faultkit.cli.compat import compat
from faultkit.cli.crash import crash, damage
from faultkit.cli.growth import growth
from faultkit.cli.history import history
from faultkit.cli.known import compare, known
from faultkit.cli.merge import merge
from faultkit.cli.replay import replay
from faultkit.cli.reproduce import reproduce
from faultkit.cli.reshard import reshard
from faultkit.cli.resume import resume
from faultkit.cli.run_sweep import HELD, USAGE, UsageError, fail, say
from faultkit.cli.scale import scale
from faultkit.cli.sweep import sweep

__all__ = ["command", "main"]


class _Interrupted(BaseException):
    """KeyboardInterrupt past click, which would begin a line of its own for it."""


class _Commands(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from faultkit.messages import listed, nearest, seen

            names = self.list_commands(ctx)
            raise UsageError(
                f"unknown command {seen(args[0])}; commands are {listed(names)}{nearest(args[0], names)}"
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted from None
        except EOFError as error:  # which click takes for Ctrl-D
            raise RuntimeError("a process ended in the middle of what it had to say") from error


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    from faultkit.cli import streams

    with streams.ready() as refusal:
        try:
            status = say(refusal, USAGE) if refusal else _invoke(arguments)
        except UsageError as error:  # standard error cannot be written
            status = say(error.format_message(), USAGE)
        status = streams.flushed(status)
    sys.exit(status)


def _invoke(arguments: Sequence[str] | None) -> int:
    from faultkit.exceptions import PlanError

    try:
        status = command.main(arguments, prog_name="faultkit", standalone_mode=False)
        return status if isinstance(status, int) else HELD
    except click.exceptions.Exit as exit_request:
        return exit_request.exit_code
    except click.ClickException as error:
        return say(error.format_message(), USAGE)
    except PlanError as error:
        return say(str(error), USAGE)
    except (_Interrupted, KeyboardInterrupt, click.Abort):
        return endings.tell()
    except GeneratorExit:
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
      faultkit history dcp                  live the lives of a job that saves, fails, dies and restarts
      faultkit resume dcp                   kill a training, resume it, compare with one never stopped
      faultkit growth dcp                   save 200 times, see what there is more of with each
      faultkit reshard dcp --save-on 2 --load-on 1,3    is it the same on other ranks, for other readers?
      faultkit compat DIR                   does an old checkpoint still load, and as what it was?
      faultkit check dcp                    all of these, every promise, one report card
      faultkit known                        known defects of what is installed
      faultkit compare A.json B.json        what one run found that another did not
      faultkit reproduce console.log dumps/ from what a job left to the plan that does the same
      faultkit checkpointers                what can be put under test: sweep, crash, damage NAME.save

    Exit status: 0 every check held, 1 a promise was broken, 2 bad usage or bad input, 3 the harness itself
    failed, 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        return
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(
            f"the current directory cannot be used: {error.strerror}; go to another one"
        ) from None


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead.")
def points(as_json: bool) -> None:
    """List the injection points, the actions, and the roles that ranks can be named by."""
    from faultkit.report import listing

    click.echo(listing.as_json() if as_json else listing.as_text(_width()))


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead.")
def checkpointers(as_json: bool) -> None:
    """List what can be put under test, what each can be put to, and whether it can run here."""
    from faultkit.report import checkpointers as listing

    click.echo(listing.as_json() if as_json else listing.as_text(_width()))


command.add_command(check)
command.add_command(merge)
command.add_command(reproduce)
command.add_command(sweep)
command.add_command(replay)
command.add_command(crash)
command.add_command(damage)
command.add_command(history)
command.add_command(growth)
command.add_command(resume)
command.add_command(reshard)
command.add_command(compat)
command.add_command(scale)
command.add_command(known)
command.add_command(compare)
completion.teach(command.commands.values())


def _width() -> int | None:
    """The terminal's width; None where lines may be as long as they are."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
