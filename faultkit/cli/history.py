"""The command ``faultkit history``: lives of a job over one checkpointer, until one breaks a promise.

Exit status: 0 every life held, 1 one did not, 2 bad usage or bad input, 3 the harness itself failed, 130 interrupted.
Not covered: how lives are drawn, lived and judged (`faultkit.history`).
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import click

from faultkit import endings
from faultkit.cli.ci import tell_ci
from faultkit.cli.known_options import KNOWN, read, shown, write
from faultkit.cli.options import JSON, RESUME
from faultkit.cli.run_sweep import BROKEN, HELD, UsageError, reason_of, search_here
from faultkit.cli.streams import write_json
from faultkit.exceptions import JournalError
from faultkit.messages import printable
from faultkit.report.progress import following

__all__ = ["history"]

LIVES_MAX = 100_000
RANKS_MAX = 64


@click.command()
@click.argument("checkpointer")
@click.option(
    "--lives",
    type=click.IntRange(1, LIVES_MAX),
    default=25,
    show_default=True,
    metavar="N",
    help="How many lives of a job are tried.",
)
@click.option(
    "--world",
    "world_size",
    type=click.IntRange(1, RANKS_MAX),
    default=3,
    show_default=True,
    metavar="N",
    help="The most ranks that a job has.",
)
@click.option(
    "--rules",
    multiple=True,
    metavar="NAME,...",
    help="What happens to the job: save, overwrite, fail, kill, restart, fail_restart, prune, fail_prune, "
    "save_and_prune, saves_in_flight.  [default: all]",
)
@click.option(
    "--may-refuse",
    default="without_checkpoint",
    show_default=True,
    metavar="WORD",
    help="When a restart may refuse: without_checkpoint, after_failure, always.",
)
@click.option(
    "--timeout", type=float, default=20.0, show_default=True, metavar="SECONDS", help="Of each step."
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of what is drawn.")
@RESUME
@KNOWN
@JSON
def history(
    checkpointer: str,
    lives: int,
    world_size: int,
    rules: tuple[str, ...],
    may_refuse: str,
    timeout: float,
    seed: int,
    journal_path: str | None,
    known_names: tuple[str, ...],
    write_known: str | None,
    json_path: str | None,
) -> int:
    """Live the lives of a job that saves through CHECKPOINTER, fails, is killed, restarts and prunes.

    CHECKPOINTER is a name of `faultkit checkpointers`, or module:attribute of your own; options follow after commas.
    After each restart, what was loaded must be what had been acknowledged. What is told is the shortest life that
    breaks that.

    \b
      faultkit history dcp
      faultkit history mymodel.checkpoint:MINE --lives 100 --rules save,kill,restart
    """
    from faultkit.report.output import refusal, refusal_of
    from faultkit.worlds.arguments import require_seed

    if why := refusal(json_path, None) or refusal_of({"--resume": journal_path}):
        raise UsageError(why)
    try:
        require_seed(seed)
    except ValueError as error:
        raise UsageError(reason_of(error)) from None
    known = read(known_names, write_known)
    search_here(checkpointer)
    chosen_rules = tuple(name.strip() for text in rules for name in text.split(","))
    machine = _machine(
        checkpointer,
        rules=list(chosen_rules) or None,
        max_world=world_size,
        may_refuse=may_refuse,
        timeout=timeout,
        known=known_names,
    )
    from faultkit.history.identity import sorted_lives
    from faultkit.history.lives import Lives, live
    from faultkit.journals import CampaignJournal
    from faultkit.known.entries import Example

    began = time.monotonic()
    about = {
        "checkpointer": checkpointer,
        "world": world_size,
        "rules": chosen_rules,
        "may_refuse": may_refuse,
        "timeout": timeout,
        "seed": seed,
        "known": known_names,
    }
    with endings.in_order(), contextlib.ExitStack() as stack:
        try:
            journal = None
            if journal_path is not None:
                journal = stack.enter_context(CampaignJournal(journal_path, "history", about, Lives))
            with following(f"{lives} lives of {checkpointer}") as tell:
                lived = live(
                    machine,
                    lives,
                    seed,
                    on_life=lambda count: tell("", count, lives, "lives"),
                    journal=journal,
                )
        except JournalError as error:
            raise UsageError(str(error)) from None
        except KeyboardInterrupt:
            return endings.tell()
        finally:
            machine.pool.close()
    seconds = time.monotonic() - began
    example = Example(
        campaign="history",
        scenario=checkpointer,
        world=world_size,
        seed=seed,
        lives=lives,
        rules=chosen_rules,
    )
    found = sorted_lives(lived.found, known.entries, example) if known.is_asked else None
    if found is not None:
        write(known, found)
    total = sum(lived.counts.values())
    if lived.story:
        click.echo(printable(lived.story), err=json_path == "-")
    else:
        click.echo(
            f"{checkpointer}: every one of {total} lives of 1 to {world_size} ranks held"
            f"{', but for what is known' if lived.known else ''}, {seconds:.1f} s",
            err=json_path == "-",
        )
    for line in shown(found):
        click.echo(line, err=json_path == "-")
    rows = [(str(lived.verdict), lived.story, "", "")] if lived.story else []
    tell_ci(f"histories of {checkpointer}", lived.counts, rows)
    if json_path is not None:
        from faultkit.torch_versions import torch_version

        told = {
            "checkpointer": checkpointer,
            "torch": torch_version(),
            "world": world_size,
            "seed": seed,
            "totals": lived.counts,
            "verdict": lived.verdict,
            "story": lived.story,
            "seconds": round(seconds, 3),
            "rules": list(chosen_rules),
            "lives": lives,
            **({"identity": lived.occurrence.identity.to_builtins()} if lived.occurrence is not None else {}),
            **({"known": found.to_builtins()} if found is not None else {}),
        }
        write_json(json_path, json.dumps(told, indent=1) + "\n")
    return BROKEN if lived.story else HELD  # of a life that is known there is none


def _machine(checkpointer: str, **choices: Any) -> Any:
    try:
        from hypothesis.errors import InvalidArgument
    except ImportError:
        raise UsageError(
            "history needs Hypothesis; install it by: pip install 'faultkit[hypothesis]'"
        ) from None
    from faultkit.history import checkpoint_history

    try:
        return checkpoint_history(checkpointer, **choices)
    except InvalidArgument as error:
        raise UsageError(str(error).removeprefix("manager: ")) from None
    except ValueError as error:
        raise UsageError(reason_of(error)) from None
