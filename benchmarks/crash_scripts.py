"""Crashes of whole training scripts, against ``ckpt-chaos``: ``python -m benchmarks.crash_scripts [FOLDER]``

For each script: how long each tool takes and which kinds of failure it finds, of processes that are killed (its
modes before and torn, our model killed), and with power cuts (its mode unsynced as well, which loses all that was not
synced of one file, or a rename; our models ordered and weak as well).  FOLDER holds its own
examples (``naive_torch.py``, ``naive_json.py``, ``rotating_json.py`` of its repository), which are not in its
package; without it, scripts of the same kinds are taken (`benchmarks.peers.scripts`).
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.peers import ckpt_chaos
from faultkit import scripts
from faultkit.crash.scripts import Job

__all__ = ["main"]

STEP = r"resumed from step (\d+)"
KINDS = {
    "ERROR": "HARD_FAIL",
    "GARBAGE": "SILENT_DIVERGENCE",
    "MIX": "SILENT_DIVERGENCE",
    "HUNG": "HARD_FAIL",
}


CRASHES = (
    ("killed", "before,torn", ("killed",)),
    ("and power cuts", "before,torn,unsynced", ("killed", "ordered", "weak")),
)


class Case(msgspec.Struct, frozen=True):
    """A script with its arguments, and how to tell what came of it."""

    arguments: tuple[str, ...]
    result: str
    checkpoints: str = ""


OURS = (
    Case(("one_file.py", "--out", "{out}"), "{out}/final.pt"),
    Case(("one_file.py", "--out", "{out}", "--rename"), "{out}/final.pt"),
    Case(("many_files.py", "--out", "{out}"), "{out}/final.json", "save-*.json"),
    Case(("many_files.py", "--out", "{out}", "--forgetful"), "{out}/final.json", "save-*.json"),
)
THEIRS = (
    Case(("naive_torch.py", "--out", "{out}"), "{out}/final.pt"),
    Case(("naive_torch.py", "--out", "{out}", "--atomic"), "{out}/final.pt"),
    Case(("naive_json.py", "--out", "{out}"), "{out}/result.json"),
    Case(("naive_json.py", "--out", "{out}", "--atomic"), "{out}/result.json"),
    Case(("rotating_json.py", "--out", "{out}"), "{out}/result.json", "ckpt-*.json"),
    Case(("rotating_json.py", "--out", "{out}", "--bug"), "{out}/result.json", "ckpt-*.json"),
)


def ours(command: list[str], case: Case, models: tuple[str, ...]) -> tuple[float, set[str], int, bool]:
    """Seconds, the kinds of failure found, states resumed, and whether all within the bounds was explored."""
    job = Job(tuple(command), results=(case.result,), step=STEP, checkpoints=case.checkpoints)
    began = time.perf_counter()
    found = scripts.explore(job, models, budget_seconds=120.0)
    seconds = time.perf_counter() - began
    kinds = {
        "LOST_WORK" if finding.detail.startswith("LostWork") else KINDS.get(finding.verdict, finding.verdict)
        for finding in found.findings
    }
    return seconds, kinds, found.loaded, found.complete


def theirs(command: list[str], case: Case, modes: str) -> tuple[float, Counter[str], int]:
    """Seconds, how often each kind of failure was found, and points crashed."""
    seconds, verdicts, points = ckpt_chaos.measure(
        [sys.executable, *command[1:]],
        result=case.result,
        step=STEP,
        checkpoints=case.checkpoints,
        modes=modes,
    )
    return seconds, Counter({kind: verdicts[kind] for kind in ckpt_chaos.FAILURES if verdicts[kind]}), points


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "peers" / "scripts"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    console, table = Console(width=200), Table(title="crashes of whole scripts")
    for column in ("script", "crashes", "ckpt-chaos", "finds", "faultkit", "finds", "ratio"):
        table.add_column(column)
    for case in THEIRS if len(sys.argv) > 1 else OURS:
        command = ["python", str(folder / case.arguments[0]), *case.arguments[1:]]
        name = " ".join((case.arguments[0], *case.arguments[3:]))
        for crashes, modes, models in CRASHES:
            their_seconds, their_kinds, points = theirs(command, case, modes)
            seconds, kinds, loaded, complete = ours(command, case, models)
            missed = set(their_kinds) - kinds
            row = (
                name,
                crashes,
                f"{their_seconds:.1f} s, {points} points",
                ", ".join(f"{count} {kind}" for kind, count in sorted(their_kinds.items())) or "nothing",
                f"{seconds:.1f} s, {loaded} states{'' if complete else ', not complete'}",
                (", ".join(sorted(kinds)) or "nothing")
                + (f"; MISSED {', '.join(sorted(missed))}" if missed else ""),
                f"{their_seconds / seconds:.1f}x",
            )
            table.add_row(*row)
            print(" | ".join(row), file=sys.stderr, flush=True)
    console.print(table)


if __name__ == "__main__":
    main()
