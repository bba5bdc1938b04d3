"""The whole-script tool ``ckpt-chaos``: it kills a copy of the script at each file event and resumes it.

It must be installed, or its folder named by ``CKPT_CHAOS``; `find` says why it cannot be had.  What it finds is
told in its own words: HARD_FAIL, SILENT_DIVERGENCE, LOST_WORK.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

__all__ = ["FAILURES", "find", "measure"]

FAILURES = ("HARD_FAIL", "SILENT_DIVERGENCE", "LOST_WORK")
SECONDS_MAX = 900.0


def find() -> str:
    """The folder to put on the path, "" where it is installed.  Raises ModuleNotFoundError."""
    folder = os.environ.get("CKPT_CHAOS", "")
    if folder and (Path(folder) / "ckpt_chaos").is_dir():
        return str(Path(folder).absolute())
    if importlib.util.find_spec("ckpt_chaos") is None:
        raise ModuleNotFoundError(
            "ckpt_chaos is not installed: pip download --no-deps ckpt-chaos, unpack the wheel, and name the folder "
            "in the variable CKPT_CHAOS"
        )
    return ""


def measure(
    command: list[str],
    *,
    result: str,
    step: str,
    checkpoints: str = "",
    modes: str = "before,torn",
    jobs: int = 2,
) -> tuple[float, Counter[str], int]:
    """Seconds, how often each verdict was given, and how many points were crashed."""
    folder = find()
    options = ["--result-file", result, "--step-regex", step, "--modes", modes, "--jobs", str(jobs)]
    if checkpoints:
        options += ["--checkpoint-glob", f"{{out}}/{checkpoints}"]
    with tempfile.TemporaryDirectory() as work:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "ckpt_chaos", "run", *options, "--work", f"{work}/run", "--", *command],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH")))),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
        )
        seconds = time.perf_counter() - began
    verdicts = Counter(re.findall(r"\b(PASS|HARD_FAIL|SILENT_DIVERGENCE|LOST_WORK)\b", _table(done.stdout)))
    points = re.search(r"-> (\d+) crash points", done.stdout)
    if points is None:
        raise RuntimeError(f"ckpt-chaos did not crash anything:\n{done.stdout[-2000:]}")
    return seconds, verdicts, int(points.group(1))


def _table(output: str) -> str:
    """The lines of its table alone: one for each point, without the totals below."""
    return "\n".join(line for line in output.splitlines() if "#" in line)
