"""The command ``faultkit growth``: what there is more of with each save in one life of the ranks.

Exit status: 0 nothing grows, 1 something does or another promise was broken, 2 bad usage or bad input, 3 the harness
itself failed, 130 interrupted: nothing is told then, since no slope is known before the last save.
Not covered: what is counted and judged (`faultkit.growth`).
"""

from __future__ import annotations

import click

from faultkit import endings
from faultkit.cli import known_options
from faultkit.cli.known_options import KNOWN
from faultkit.cli.options import JSON
from faultkit.cli.run_sweep import BROKEN, HELD, UsageError, fail, reason_of, search_here
from faultkit.cli.streams import write_json
from faultkit.messages import printable
from faultkit.report.progress import following

__all__ = ["growth"]


@click.command()
@click.argument("scenario")
@click.option(
    "--saves",
    type=click.IntRange(30, 1_000),
    default=200,
    show_default=True,
    metavar="N",
    help="How many saves, or calls; the first fifth is left out.",
)
@click.option(
    "--world", "world_size", type=int, default=2, show_default=True, metavar="N", help="Ranks of the world."
)
@click.option(
    "--kind", default="warm", show_default=True, metavar="KIND", help="World: warm, fresh, spawn, simulated."
)
@click.option(
    "--timeout",
    type=float,
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Of all saves together.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of random states.")
@KNOWN
@JSON
def growth(
    scenario: str,
    saves: int,
    world_size: int,
    kind: str,
    timeout: float,
    seed: int,
    known_names: tuple[str, ...],
    write_known: str | None,
    json_path: str | None,
) -> int:
    """Save many times in one life of the ranks, and tell what there is more of with each save.

    SCENARIO is a checkpointer, which saves, prunes and loads in turn; or a scenario or a function, which is called
    again and again. Descriptors, threads, child processes, shared memory, files and memory are counted on each rank,
    and a line through the counts must not rise beyond its error.

    \b
      faultkit growth dcp
      faultkit growth mymodel.checkpoint:MINE --saves 500 --json growth.json
    """
    from faultkit.exceptions import ScenarioError
    from faultkit.growth import measure
    from faultkit.report.output import refusal
    from faultkit.worlds import World

    if why := refusal(json_path, None):
        raise UsageError(why)
    known = known_options.read(known_names, write_known)
    with endings.in_order():
        try:
            World(world_size, kind=kind, timeout=timeout, seed=seed)  # starts nothing, and says what is wrong
            search_here(scenario)
            with following(f"{saves} turns of {scenario}"):
                found = measure(
                    scenario, saves=saves, world=world_size, kind=kind, seed=seed, timeout_seconds=timeout
                )
        except KeyboardInterrupt:
            return endings.tell()
        except ScenarioError as error:
            return fail(error)
        except ValueError as error:
            raise UsageError(reason_of(error)) from None
    if known.is_asked:
        found = found.sorted_by(known.entries)
    click.echo(printable("\n".join([found.text(), *known_options.shown(found.sorted)])), err=json_path == "-")
    write_json(json_path, found.to_json())
    if found.sorted is not None:
        known_options.write(known, found.sorted)
    return HELD if found.is_accepted else BROKEN
