"""Run one file of tests under a pytest of its own, and time it from start to end.

The plugins of this repository and its configuration stay out, so that the runner in the file is measured
and nothing that another project would not have.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["PytestRun", "run_file"]

ROOT = Path(__file__).resolve().parent.parent.parent


class PytestRun(NamedTuple):
    """Wall-clock `seconds`, the exit `status`, the `output`, and ``{"passed": 60}`` as its last line says."""

    seconds: float
    status: int
    output: str
    counts: dict[str, int]


def run_file(path: str, *extra_options: str, deadline_seconds: float = 300.0) -> PytestRun:
    """Run the tests in the file `path`; raises subprocess.TimeoutExpired past the deadline."""
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:faultkit", "-p", "no:randomly", "-p", "no:xdist"]
    options += ["--rootdir", str(ROOT), "--confcutdir", str(Path(path).parent), "-c", os.devnull]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *extra_options, path],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=deadline_seconds,
    )
    seconds = time.perf_counter() - started
    summary = done.stdout.rstrip().rpartition("\n")[2]
    counts = {
        word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", summary)
    }
    return PytestRun(seconds, done.returncode, done.stdout, counts)
