"""Who keeps a job: what happens to the other ranks once one of them has ended.

``"none"``: nothing, they are left to themselves.  ``"torchrun"``: what torchrun, Slurm and Kubernetes do.  A job
of which one process has failed is ended, and started again: the others are sent SIGTERM, and SIGKILL where they do
not end of it.  A process has failed when it ended by a signal or with another status than 0 (torch's
`elastic/agent/server/local_elastic_agent.py`).  An exception that leaves the function under test is not the end of
its process, as whoever calls the function may catch it; ``sys.exit``, ``os._exit`` and a plan's ``leave`` are.

Guarantees: ranks are ended once nobody can go on any more, at the latest `GRACE_SECONDS` after the first rank failed.
torchrun looks ten times a second; the longer grace lets those that go on finish, also on a machine that is busy, so
that what they would have done is seen.  Not covered: the start that follows (`faultkit.scenarios.Stage` tries it), and
the half minute that torchrun gives to handlers of SIGTERM.
"""

from __future__ import annotations

from typing import Any

from faultkit.runs.outcomes import Died, Outcome

__all__ = [
    "GRACE_SECONDS",
    "LAUNCHER",
    "LAUNCHERS",
    "NONE",
    "TERMINATION_SECONDS",
    "TORCHRUN",
    "has_failed",
    "was_ended",
]

NONE, TORCHRUN = LAUNCHERS = ("none", "torchrun")
LAUNCHER = "launcher"  # by whom a rank was ended, in `Died.by`
GRACE_SECONDS = 5.0
TERMINATION_SECONDS = 1.0  # between SIGTERM and SIGKILL


def was_ended(outcome: Outcome | None) -> bool:
    """Whether the launcher ended the rank."""
    return isinstance(outcome, Died) and outcome.by == LAUNCHER


def has_failed(run: Any) -> bool:
    """Whether the process of a rank has failed in `run`, so that it matters who kept the job."""
    outcomes = (getattr(run, "outcomes", None) or {}).values()
    return any(isinstance(one, Died) and (one.signal or one.exitcode) for one in outcomes)
