"""The command ``faultkit compat``: does a stored checkpoint still load, and as what it was?

Exit status: 0 it holds what its digest says, 1 it does not, 2 bad usage or bad input (no digest, a damaged one), 3 the
harness itself failed, 130 interrupted.  Not covered: what is compared (`faultkit.compat`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from faultkit import endings
from faultkit.cli.options import JSON
from faultkit.cli.run_sweep import BROKEN, HELD, UsageError, reason_of, search_here
from faultkit.cli.streams import write_json
from faultkit.messages import printable

__all__ = ["compat"]

SHOWN = 20


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--write",
    "is_write",
    is_flag=True,
    help="Make the digest; where DIR is empty, save a checkpoint there first.",
)
@click.option(
    "--checkpointer",
    metavar="NAME",
    help="Which saved it, or is to save it.  [default: that of the digest; to save, dcp]",
)
@click.option(
    "--world",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    metavar="N",
    help="How many ranks save.",
)
@click.option(
    "--state", "state_text", metavar="TEXT", help="What is saved, as `faultkit reshard` writes a state."
)
@click.option(
    "--timeout",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Of the save, and of reading.",
)
@JSON
def compat(
    directory: Path,
    is_write: bool,
    checkpointer: str | None,
    world: int,
    state_text: str | None,
    timeout: float,
    json_path: str | None,
) -> int:
    """Load the checkpoint that is stored in DIR with what is installed; compare it with the digest beside it.

    The digest of `old/dcp` is `old/dcp.digest.json`: names, dtypes, shapes and a SHA-256 of each value. Nothing that is
    stored runs code: of a pickle the engine's own classes are read alone.

    \b
      faultkit compat old/dcp
      faultkit compat old/dcp --write --checkpointer dcp,threads=2
    """
    from faultkit.compat.comparing import compare, make
    from faultkit.exceptions import ScenarioError
    from faultkit.report.output import refusal
    from faultkit.reshard.states import read
    from faultkit.torch_versions import require_torch, torch_version
    from faultkit.worlds.arguments import require_seconds

    require_torch()
    if why := refusal(json_path, None):
        raise UsageError(why)
    search_here(checkpointer or "")
    found: dict[str, Any]
    with endings.in_order():
        try:
            require_seconds("timeout", timeout)
            if is_write:
                state = None if state_text is None else read(state_text)
                made = make(directory, checkpointer or "dcp", world_size=world, state=state, timeout=timeout)
                what = f"{len(made.leaves)} leaves in {len(made.files)} files"
                lines = [f"{directory}: {what}, written by torch {made.written_by['torch']}"]
                found = {
                    "directory": str(directory),
                    "checkpointer": made.checkpointer,
                    "leaves": len(made.leaves),
                }
                is_same = True
            else:
                compared = compare(directory, checkpointer, timeout)
                is_same = compared.is_same
                lines = _lines(directory, compared, torch_version())
                found = {
                    "directory": str(directory),
                    "checkpointer": compared.digest.checkpointer,
                    "written_by": compared.digest.written_by,
                    "torch": torch_version(),
                    "readers": list(compared.readers),
                    "leaves": len(compared.digest.leaves),
                    "differences": list(compared.differences),
                    "changed_files": list(compared.changed),
                    "verdict": "HELD" if is_same else "SILENT_WRONG",
                }
        except ScenarioError as error:
            raise UsageError(str(error)) from None
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be used: {error.strerror}") from None
        except ValueError as error:
            raise UsageError(reason_of(error)) from None
        except KeyboardInterrupt:
            return endings.tell()
    click.echo(printable("\n".join(lines)), err=json_path == "-")
    if json_path is not None:
        write_json(json_path, json.dumps(found, indent=1) + "\n")
    return HELD if is_same else BROKEN


def _lines(directory: Path, compared: Any, torch: str) -> list[str]:
    digest = compared.digest
    who = f"{directory}: written by {digest.checkpointer} with torch {digest.written_by.get('torch', '?')}"
    how = f"read with torch {torch} by {', '.join(compared.readers)}"
    if compared.is_same:
        return [f"{who}, {how}: all {len(digest.leaves)} leaves are the same"]
    lines = [f"{who}, {how}:"]
    if compared.changed:
        lines.append(f"  these files are not as they were written: {', '.join(compared.changed[:SHOWN])}")
    lines += [f"  {words}" for words in compared.differences[:SHOWN]]
    if len(compared.differences) > SHOWN:
        lines.append(f"  and {len(compared.differences) - SHOWN} more")
    return lines
