"""A training script of one's own, unmodified: run as one or several ranks, crashed everywhere, resumed, compared.

    from faultkit import scripts

    job = scripts.Job(
        ("python", "train.py", "--out", "{out}"),
        results=("{out}/final.pt",),
        step=r"resumed from step (\\d+)",
        checkpoints="{out}/ckpt-*.pt",
    )
    found = scripts.explore(job)                    # a `faultkit.crash.Exploration`

``{out}`` (or ``{dir}``) stands for the directory to which the script writes.  The script runs once, recorded; then
every state of its files that a crash could leave is given to the command that resumes.  Importing this package
imports no torch.
"""

from __future__ import annotations

from faultkit.crash.scripts.exploring import Job, explore, scenario_of
from faultkit.exceptions import LostWork, ResumeFailed

__all__ = ["Job", "LostWork", "ResumeFailed", "explore", "scenario_of"]
