"""A training that is killed and resumed, against the one that was never stopped: `resume`.

    from faultkit.resume import resume

    resume("dcp", world=2).raise_for_violations()            # the built-in training, saved by a checkpointer
    resume(MINE, world=2, load_on=(2, 1), steps=(3, 2))      # a `faultkit.Trainer` of your own

One job trains and is never stopped.  A second does the same, and is killed.  New ranks start the job again, over what
that one left and over what each earlier save left, load, and train on; what they hold, draw, are trained on and give
must be what the first job had then, bit for bit on as many ranks, and within a tolerance on others.  `docs/resume.md`
says what is compared, and what is not.  Importing this package imports no torch.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.resume.campaign import resume
    from faultkit.resume.results import Restart, Resumed

__all__ = ["Restart", "Resumed", "resume"]

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "Restart": "faultkit.resume.results",
        "Resumed": "faultkit.resume.results",
        "resume": "faultkit.resume.campaign",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
