"""The line that runs a plan again: ``faultkit replay PLAN ...``, quoted for a shell.

Guarantees: what a run was given and differs from the command's defaults is named, so that the line does the same
again; exception types that plans may name only by leave are allowed.  Not covered: what is not on the command line,
such as a backend or a group's time limit.
"""

from __future__ import annotations

import shlex

from faultkit.plan import FaultPlan
from faultkit.plan.actions import OWN_EXCEPTIONS
from faultkit.runs.selection import ALL, Chosen

__all__ = ["KIND_OF_RESUME", "SCHEDULE_SEPARATOR", "TIMEOUT_OF_RESUME_SECONDS", "replay_line"]

SCHEDULE_SEPARATOR = ","
TIMEOUT_SECONDS = 30.0  # of the command, where it is not told
LAUNCHER = "torchrun"  # likewise
KIND = "warm"  # likewise
KIND_OF_RESUME, TIMEOUT_OF_RESUME_SECONDS = "fresh", 60.0  # of ``faultkit resume``


def replay_line(
    plan: FaultPlan | str,
    *,
    scenario: str = "",
    world_size: int | None = None,
    kind: str = KIND,
    timeout_seconds: float = TIMEOUT_SECONDS,
    seed: int = 0,
    schedule: tuple[int, ...] | None = None,
    launcher: str = "",
    ranks_differ: bool = False,
    chosen: Chosen = ALL,
    attempts_after: int = 0,
) -> str:
    """The command that runs `plan` on `scenario` again; with `schedule`, in that order of simulated ranks.

    `launcher` is who kept the job; empty where that made no difference.
    """
    words = ["faultkit", "replay", str(plan)]
    if scenario:
        words += ["--scenario", scenario]
    if world_size:
        words += ["--world", str(world_size)]
    if kind != KIND:
        words += ["--kind", kind]
    if timeout_seconds != TIMEOUT_SECONDS:
        words += ["--timeout", f"{timeout_seconds:g}"]
    if seed:
        words += ["--seed", str(seed)]
    if schedule is not None:
        words += ["--schedule", SCHEDULE_SEPARATOR.join(map(str, schedule))]
    if launcher not in ("", LAUNCHER):
        words += ["--launcher", launcher]
    if ranks_differ:
        words += ["--ranks-differ"]
    if attempts_after:
        words += ["--attempts-after", str(attempts_after)]
    words += chosen.words
    named = [str(fault.action.get("exception")) for fault in plan] if isinstance(plan, FaultPlan) else []
    for name in dict.fromkeys(named):
        if ":" in name and not name.startswith(OWN_EXCEPTIONS):
            words += ["--allow", name]
    return shlex.join(words)
