"""The commands about what is stored: ``faultkit crash`` and ``faultkit damage``.

Not covered: how they carry out what they are told (`faultkit.cli.run_crash`).
"""

from __future__ import annotations

from typing import Any

import click

from faultkit.cli.known_options import KNOWN
from faultkit.cli.options import JOURNAL_HELP, JSON, RESUME, together
from faultkit.cli.run_sweep import UsageError

__all__ = ["crash", "damage"]

_load_options = together(
    click.option("--world", "--ranks", "world_size", type=int, metavar="N", help="Ranks that save."),
    click.option(
        "--timeout", type=float, metavar="SECONDS", help="Bound of each load.  [default: 10, a command 60]"
    ),
    click.option(
        "--jobs",
        type=click.IntRange(1, 64),
        default=2,
        show_default=True,
        metavar="N",
        help="Loads side by side.",
    ),
    click.option(
        "--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of what is drawn."
    ),
    KNOWN,
    JSON,
    click.option("--report", "report_path", metavar="PATH", help="Write a page (.html)."),
)


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("work", nargs=-1, metavar="SCENARIO | -- COMMAND...")
@click.option(
    "--models",
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="What a crash may undo: killed, ordered, weak. Repeatable.  [default: all]",
)
@click.option(
    "--budget", type=float, default=60.0, show_default=True, metavar="SECONDS", help="For all models."
)
@click.option("--lost", type=int, metavar="N", help="Operations lost at a time; -1: any number of them.")
@click.option("--pieces", type=int, metavar="N", help="Pieces that the data of a file is lost in.")
@click.option("--no-pruning", is_flag=True, help="Load every distinct state.")
@click.option("--resume", metavar="COMMAND", help="The command that resumes.  [default: COMMAND again]")
@click.option(
    "--result",
    "results",
    multiple=True,
    metavar="PATH",
    help="A file that must be the same in the end. Repeatable.",
)
@click.option("--value", "values", metavar="REGEX", help="What it finds in the output must be the same.")
@click.option("--step", metavar="REGEX", help="Its group is the step that was resumed from.")
@click.option("--checkpoints", metavar="GLOB", help="The newest complete one must be used; needs --step.")
@click.option("--programs", is_flag=True, help="Start an interpreter for every resumption.")
@click.option("--journal", "journal_path", metavar="JOURNAL", help=JOURNAL_HELP)
@click.option("--keep", metavar="FILE", help="Write the violations, to be replayed.")
@click.option("--replay", "replayed", metavar="FILE", help="Make a kept violation again, and load it.")
@click.option("--finding", type=int, metavar="N", help="Which one of FILE.  [default: 1]")
@click.option("--into", metavar="DIR", help="Where to make it: a directory that is empty or not there.")
@click.option("--trust", is_flag=True, help="Run the command or load that FILE names.")
@_load_options
def crash(work: tuple[str, ...], **options: Any) -> int:
    """Load every state that a crash could leave after a save, and say what the load makes of it.

    SCENARIO is dcp-fresh (or dcp-save), dcp-overwrite, control-fresh, control-overwrite, or module:attribute of
    your own, a faultkit.crash.Scenario; options follow after commas. COMMAND is a training script of yours,
    unmodified, with {out} where it takes its directory: it runs once, and is resumed from every state.

    \b
      faultkit crash dcp-overwrite --world 2
      faultkit crash --result '{out}/final.pt' -- python train.py --out {out}
      faultkit crash --ranks 2 --resume 'python resume.py {out}' -- python train.py {out}
      faultkit crash dcp-overwrite --keep found.crash
      faultkit crash --replay found.crash --into /tmp/look
    """
    from faultkit.cli import run_crash

    if options["replayed"] is not None:
        if work:
            raise UsageError(f"--replay takes its scenario from the file: leave out {work[0]!r}")
        if options["into"] is None:
            raise UsageError("--replay needs --into, the directory in which to make the state")
        number = 1 if options["finding"] is None else options["finding"]
        return run_crash.replay_crash(options["replayed"], number, options["into"], trusted=options["trust"])
    for option in ("into", "finding", "trust"):
        if options[option] is not None and options[option] is not False:
            raise UsageError(f"--{option} belongs to --replay")
    if not work:
        raise UsageError("crash needs a scenario, or a command after --")
    return run_crash.attended_crash(work, options)


@click.command()
@click.argument("scenario")
@click.option(
    "--actions",
    multiple=True,
    metavar="GLOB",
    help="flip, zero, truncate, swap, older, delete; of NAME.fallback and NAME.prune also incomplete. Repeatable."
    "  [default: all]",
)
@click.option(
    "--samples",
    type=click.IntRange(1, 10_000),
    default=3,
    show_default=True,
    metavar="N",
    help="Of each action on each kind of region.",
)
@RESUME
@_load_options
def damage(scenario: str, **options: Any) -> int:
    """Damage a finished checkpoint in one way after the other, and see which damage a load notices.

    SCENARIO is as for `faultkit crash`; dcp-save is the checkpoint that dcp-overwrite saves. NAME.fallback of a
    checkpointer damages the newest of three checkpoints and asks what all ranks come back to; NAME.prune prunes before.

    \b
      faultkit damage dcp-save
      faultkit damage dcp-save --actions flip --samples 50 --report damage.html
      faultkit damage dcp.fallback
    """
    from faultkit.cli import run_crash

    return run_crash.attended_damage(scenario, options)
