"""The command ``faultkit reshard``: what N ranks saved, loaded on other numbers of ranks and by other readers.

Exit status: 0 it was the same everywhere, 1 it was not, 2 bad usage or bad input, 3 the harness itself failed, 130
interrupted.  Not covered: which states are saved, and how they are compared (`faultkit.reshard`).
"""

from __future__ import annotations

import json
from typing import Any

import click

from faultkit import endings
from faultkit.cli import known_options
from faultkit.cli.known_options import KNOWN
from faultkit.cli.options import JSON
from faultkit.cli.run_sweep import BROKEN, HELD, UsageError, reason_of, search_here
from faultkit.cli.streams import write_json
from faultkit.messages import printable, seen
from faultkit.report.progress import following

__all__ = ["reshard"]

STATES_MAX = 1_000_000
RANKS_MAX = 64


@click.command()
@click.argument("checkpointer")
@click.option(
    "--save-on", type=click.IntRange(1, RANKS_MAX), required=True, metavar="N", help="How many ranks save."
)
@click.option(
    "--load-on",
    required=True,
    metavar="N,N,...",
    help="On how many ranks it is loaded, one world after the other.",
)
@click.option(
    "--states",
    type=click.IntRange(0, STATES_MAX),
    default=100,
    show_default=True,
    metavar="N",
    help="How many states are drawn, after each sort of leaf by itself.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="When no further state is begun.",
)
@click.option("--kind", default="warm", show_default=True, metavar="KIND", help="The kind of world.")
@click.option(
    "--timeout", type=float, default=20.0, show_default=True, metavar="SECONDS", help="Of each save and load."
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of what is drawn.")
@click.option("--state", "state_text", metavar="TEXT", help="This state alone, as a report writes it.")
@KNOWN
@JSON
def reshard(
    checkpointer: str,
    save_on: int,
    load_on: str,
    states: int,
    budget: float,
    kind: str,
    timeout: float,
    seed: int,
    state_text: str | None,
    known_names: tuple[str, ...],
    write_known: str | None,
    json_path: str | None,
) -> int:
    """Save states of every sort with CHECKPOINTER on N ranks; whoever loads them must get the same, bit for bit.

    CHECKPOINTER is a name of `faultkit checkpointers`, or module:attribute of your own; options follow after commas.
    They are loaded on each of the other numbers of ranks, whole by one process, and by other readers of the format.
    What is told is the smallest state, on the fewest ranks, that comes back as something else.

    \b
      faultkit reshard dcp --save-on 4 --load-on 1,2,3
      faultkit reshard mymodel.checkpoint:MINE --save-on 2 --load-on 1,4 --states 500
    """
    from faultkit.report.output import refusal
    from faultkit.worlds.arguments import require_kind, require_seconds, require_seed

    if why := refusal(json_path, None):
        raise UsageError(why)
    known = known_options.read(known_names, write_known)
    sizes = _sizes(load_on)
    try:
        require_seed(seed)
        require_kind(kind)
        require_seconds("timeout", timeout)
    except ValueError as error:
        raise UsageError(reason_of(error)) from None
    findings, is_interrupted = _explored(
        checkpointer,
        state_text,
        save_on=save_on,
        load_on=sizes,
        states=states,
        budget_seconds=budget,
        kind=kind,
        timeout=timeout,
        seed=seed,
    )
    if findings is not None:
        from faultkit.reshard.rendering import as_json, as_text

        if known.is_asked:
            findings.sort_by(known.entries)
        told = [as_text(findings), *known_options.shown(findings.sorted)]
        click.echo(printable("\n".join(told)), err=json_path == "-")
        if json_path is not None:
            write_json(json_path, json.dumps(as_json(findings), indent=1) + "\n")
    if is_interrupted:
        return endings.tell()
    if findings is None or not findings.compared_count:
        is_refused = findings is not None and findings.refused
        why = "the save refused every state" if is_refused else "the budget ran out before a state was saved"
        raise UsageError(f"nothing was compared: {why}")
    if findings.sorted is not None:
        known_options.write(known, findings.sorted)
    return HELD if findings.is_accepted else BROKEN


def _sizes(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(
        word.isascii() and word.isdigit() and 1 <= int(word[:4]) <= RANKS_MAX and len(word) < 4
        for word in words
    ):
        raise UsageError(
            f"--load-on must be numbers of ranks from 1 to {RANKS_MAX}, such as 1,2,3 (got {seen(text)})"
        )
    return tuple(dict.fromkeys(map(int, words)))


def _explored(text: str, state_text: str | None, **choices: Any) -> tuple[Any, bool]:
    """What was found, None where nothing was begun; and whether a signal ended it."""
    from faultkit.exceptions import ScenarioError
    from faultkit.torch_versions import require_torch

    require_torch()
    try:
        import hypothesis  # noqa: F401
    except ImportError:
        raise UsageError(
            "reshard needs Hypothesis; install it by: pip install 'faultkit[hypothesis]'"
        ) from None
    from faultkit.reshard.campaign import explore
    from faultkit.reshard.states import read

    search_here(text)
    shown: list[Any] = []

    def hear(findings: Any) -> None:
        shown[:] = [findings]
        totals = ", ".join(f"{word} {count}" for word, count in findings.totals.items())
        tell(totals, sum(findings.totals.values()), unit="cases")

    with endings.in_order():
        try:
            state = None if state_text is None else read(state_text)
            with following("drawing states") as tell:
                return explore(text, state=state, progress=hear, **choices), False
        except ScenarioError as error:
            raise UsageError(str(error)) from None
        except ValueError as error:
            raise UsageError(reason_of(error)) from None
        except KeyboardInterrupt:
            return (shown[0] if shown else None), True
