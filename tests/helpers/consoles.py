"""Blocks of pages that show a command and what it printed: they are run, and what is shown must be printed.

Guarantees: a block is `$ COMMAND` and lines below it; `...` stands for anything, within a line or for lines.  What is
shown must be printed in that order, with white space where it has some, and the exit status is that of a violation
exactly where one is shown.  Not covered: several commands in one block.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from faultkit import Verdict
from tests.helpers.stuck import SECONDS_MAX

__all__ = ["Console", "consoles", "run"]

COLUMNS = 88


class Console(NamedTuple):
    command: str
    shown: str


def consoles(text: str) -> list[Console]:
    """The blocks of a page, in order."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    found = []
    for block in blocks:
        first, _, shown = block.partition("\n")
        assert first.startswith("$ ") and "\n$ " not in block, block
        found.append(Console(first[2:], shown))
    return found


def run(console: Console, folder: Path) -> None:
    """Runs the command in `folder`; raises AssertionError where it prints something else, or ends otherwise."""
    program, *arguments = shlex.split(console.command)
    start = {"faultkit": [sys.executable, "-m", "faultkit"], "python": [sys.executable]}[program]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "GITHUB_"))
    }
    done = subprocess.run(
        [*start, *arguments],
        cwd=folder,
        env=environment | {"FAULTKIT_SLOTS": "0", "COLUMNS": str(COLUMNS), "FAULTKIT_PROGRESS": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_MAX,
    )
    assert is_shown(console.shown, done.stdout), f"{console.command}\n{done.stdout}"
    assert done.returncode == is_violation(console.shown), f"{console.command}\n{done.stdout}"


def is_shown(shown: str, printed: str) -> bool:
    parts = [r"\s+".join(map(re.escape, part.split())) for part in shown.split("...")]
    return re.search(r".*?".join(parts), printed, re.DOTALL) is not None


def is_violation(shown: str) -> bool:
    words = set(re.findall(r"\b[A-Z_]{4,}\b", shown))
    return bool(words & ({str(verdict) for verdict in Verdict} - {"HELD"} | {"ERROR", "WRONG", "MIX"}))
