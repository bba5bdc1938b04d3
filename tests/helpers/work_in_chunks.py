"""Work that ends the worker which runs it, and what a sweep of it must come to, whoever runs its chunks."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import psutil

from faultkit import FaultPlan
from faultkit.scenarios import Scenario
from faultkit.sweep import sweep

PLANS = [FaultPlan.parse(f"writer.write_data#{number}=raise(ValueError)") for number in range(1, 13)]


def end_worker(directory: Path, *, sweeper: int, notes: Path, deaths: int) -> None:
    """Kill the process whose fork server this rank is of, unless it is the sweeper's own, until that many are dead."""
    worker = psutil.Process().parents()[1].pid
    if worker == sweeper or len(list(notes.iterdir())) >= deaths:
        return
    (notes / f"{worker}").touch()
    os.kill(worker, signal.SIGKILL)
    signal.pause()  # the fork server ends it


def deadly(notes: Path, deaths: int) -> Scenario:
    """Work on which so many workers die, and then none."""
    notes.mkdir()
    work = partial(end_worker, sweeper=os.getpid(), notes=notes, deaths=deaths)
    return Scenario(name="deadly", function=work, points=("writer.*",), reads_back=False)


def swept(scenario: Scenario, **options: object):
    """The journal of `PLANS`, none of which fires."""
    given = {"world": 1, "kind": "fresh", "plans": PLANS, "may_not_fire": True, **options}
    return sweep(scenario, **given)


def told(journal):
    return [(str(result.plan), result.verdict, result.violations) for result in journal.results]
