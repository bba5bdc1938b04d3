"""The command ``faultkit resume``: a training is killed, started again, and compared with one that was never stopped.

Exit status: 0 every restart held, 1 one did not, 2 bad usage or bad input, 3 the harness itself failed, 130
interrupted.  Not covered: how it is done and judged (`faultkit.resume`).
"""

from __future__ import annotations

import json

import click

from faultkit import endings
from faultkit.cli import known_options
from faultkit.cli.known_options import KNOWN
from faultkit.cli.options import JSON
from faultkit.cli.run_sweep import BROKEN, HELD, UsageError, reason_of, search_here
from faultkit.cli.streams import write_json
from faultkit.messages import printable, seen
from faultkit.report.progress import following

__all__ = ["resume"]


@click.command()
@click.argument("trainer")
@click.option(
    "--world", "world_size", type=int, default=2, show_default=True, metavar="N", help="Ranks that train."
)
@click.option(
    "--load-on",
    metavar="N,...",
    help="On how many ranks it is started again, each.  [default: as many, and another number]",
)
@click.option(
    "--steps",
    default="3,2",
    show_default=True,
    metavar="K,M",
    help="The job is saved after each of K steps; M are compared after each restart.",
)
@click.option(
    "--checkpointer", metavar="NAME", help="What saves and loads, in place of what the trainer says."
)
@click.option(
    "--plan",
    metavar="PLAN",
    help="What ends the job.  [default: SIGKILL on all ranks in the step after the last save]",
)
@click.option(
    "--tolerance",
    type=float,
    default=0.01,
    show_default=True,
    metavar="X",
    help="On another number of ranks, as a part of the largest number.",
)
@click.option("--kind", default="fresh", show_default=True, metavar="KIND", help="Of worlds: fresh or spawn.")
@click.option(
    "--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS", help="Of each run."
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of all that is drawn.")
@KNOWN
@JSON
def resume(
    trainer: str,
    world_size: int,
    load_on: str | None,
    steps: str,
    checkpointer: str | None,
    plan: str | None,
    tolerance: float,
    kind: str,
    timeout: float,
    seed: int,
    known_names: tuple[str, ...],
    write_known: str | None,
    json_path: str | None,
) -> int:
    """Train, kill and resume TRAINER, and compare it with a job that was never stopped.

    TRAINER is module:attribute of a faultkit.Trainer, or a name of `faultkit checkpointers`, which then saves the
    built-in training; options follow after commas. What is told is the smallest case in which a job that was started
    again does not go on as if nothing had happened.

    \b
      faultkit resume dcp
      faultkit resume mymodel.train:MINE --world 2 --load-on 2,1,4 --steps 5,3
      faultkit resume training,wrap=ddp,workers=2 --checkpointer torch-save
    """
    from faultkit.exceptions import ScenarioError
    from faultkit.report.output import refusal
    from faultkit.torch_versions import require_torch

    if why := refusal(json_path, None):
        raise UsageError(why)
    known = known_options.read(known_names, write_known)
    require_torch()
    search_here(trainer)
    if checkpointer is not None:
        search_here(checkpointer)
    chosen_steps, sizes = _numbers("--steps", steps, "3,2"), None
    if load_on is not None:
        sizes = _numbers("--load-on", load_on, "2,1")
    from faultkit.resume import resume as run_resume

    with endings.in_order():
        try:
            with following("a job that is never stopped") as tell:
                found = run_resume(
                    trainer,
                    world=world_size,
                    load_on=sizes,
                    steps=chosen_steps,  # type: ignore[arg-type]
                    checkpointer=checkpointer,
                    plan=plan,
                    kind=kind,
                    timeout=timeout,
                    seed=seed,
                    tolerance=tolerance,
                    on_progress=tell,
                )
        except KeyboardInterrupt:
            return endings.tell()
        except ScenarioError as error:
            if error.story:
                click.echo(f"{printable(error.story)}\n", err=True)
            raise UsageError(str(error)) from None
        except ValueError as error:
            raise UsageError(reason_of(error)) from None
    if known.is_asked:
        found = found.sorted_by(known.entries)
    click.echo(
        printable("\n".join([found.story(), *known_options.shown(found.sorted)])), err=json_path == "-"
    )
    if json_path is not None:
        write_json(json_path, json.dumps(found.to_builtins(), indent=1) + "\n")
    if found.sorted is not None:
        known_options.write(known, found.sorted)
    return HELD if found.is_accepted else BROKEN


def _numbers(option: str, text: str, example: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"{option} must be whole numbers with commas, such as {example} (got {seen(text)})"
        ) from None
