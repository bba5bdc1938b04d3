"""Break a distributed checkpoint on purpose, and prove what every rank saw.

Start with the code that saves, as it stands in your project::

    import torch
    import torch.distributed.checkpoint as dcp

    def save(directory):
        dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)

**1. Give it ranks.**  A `World` is a set of real processes with a process group between them.  The
function runs on every rank, and every rank's fate comes back::

    from faultkit import World

    with World(4) as world:
        run = world.run(save, "/tmp/checkpoint")
        run.outcomes[2]                # Returned(value=None)

**2. Break something.**  A plan says what, where and on which ranks, in one line::

        run = world.run(save, "/tmp/checkpoint", plan="writer.write_data@2=raise(OSError, ENOSPC)")
        run.fired                      # the fault, on rank 2, at its first call
        run.outcomes[0].failures       # {2: ("OSError", "...")}: rank 0 learned of it, too

Several faults are joined with ``;``.  ``@others`` or ``@1,3`` chooses ranks, ``#2`` the second call,
``:future`` the returned future; ``delay(0.2)``, ``hang`` and ``kill(SIGKILL)`` are other actions.
``faultkit points`` on the command line lists every point, moment and action.

**3. Ask for the verdict.**  Checks examine what every rank saw: did the fault fire, did nobody wait for
ever, does every rank tell the same story and name the right culprit with the real cause? ::

        run.verdict                    # Verdict.HELD, or the worst promise that was broken
        run.raise_for_violations()     # an AssertionError that tells the whole story

**4. Make it a test.**  In a pytest suite the plugin provides the world and the plan; each plan is a test::

    import pytest

    @pytest.mark.world(4)
    @pytest.mark.faults("writer.write_data@2=raise(ValueError)", "writer.finish:after@coordinator=kill")
    def test_a_failed_save_is_known_to_every_rank(world, plan, checkpoint_dir):
        world.run(save, checkpoint_dir, plan=plan).raise_for_violations()

**5. Sweep.**  ``faultkit sweep dcp-save --world 4`` tries every point with every action, and
``faultkit replay`` runs one plan again.  From here on: `faultkit.plan` for the grammar, `faultkit.worlds`
for the kinds of world, `faultkit.checks` for what is promised, `faultkit.scenarios` for built-in work,
`faultkit.strategies` for Hypothesis.

Importing this package costs a few milliseconds and does not import torch: each name is loaded when it
is first used.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False  # type checkers take it for true; `typing` costs more than all else here
if TYPE_CHECKING:
    from faultkit import checkpointers, checks, scenarios, strategies
    from faultkit.checkpointers.checkpointer import Checkpointer
    from faultkit.checkpointers.trainer import Trainer
    from faultkit.checks import Verdict, Violation
    from faultkit.injection import FaultyStorageReader, FaultyStorageWriter
    from faultkit.plan import Fault, FaultPlan, PlanError
    from faultkit.runs.outcomes import Died, Fired, Hung, Outcome, Raised, Returned
    from faultkit.runs.run import Run
    from faultkit.worlds import World

__all__ = [
    "Checkpointer",
    "Died",
    "Fault",
    "FaultPlan",
    "FaultyStorageReader",
    "FaultyStorageWriter",
    "Fired",
    "Hung",
    "Outcome",
    "PlanError",
    "Raised",
    "Returned",
    "Run",
    "Trainer",
    "Verdict",
    "Violation",
    "World",
    "__version__",
    "checkpointers",
    "checks",
    "scenarios",
    "strategies",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "Checkpointer": "faultkit.checkpointers.checkpointer",
        "Died": "faultkit.runs.outcomes",
        "Fault": "faultkit.plan",
        "FaultPlan": "faultkit.plan",
        "FaultyStorageReader": "faultkit.injection",
        "FaultyStorageWriter": "faultkit.injection",
        "Fired": "faultkit.runs.outcomes",
        "Hung": "faultkit.runs.outcomes",
        "Outcome": "faultkit.runs.outcomes",
        "PlanError": "faultkit.exceptions",
        "Raised": "faultkit.runs.outcomes",
        "Returned": "faultkit.runs.outcomes",
        "Run": "faultkit.runs.run",
        "Trainer": "faultkit.checkpointers.trainer",
        "Verdict": "faultkit.checks",
        "Violation": "faultkit.checks",
        "World": "faultkit.worlds",
        "checkpointers": "faultkit.checkpointers",
        "checks": "faultkit.checks",
        "scenarios": "faultkit.scenarios",
        "strategies": "faultkit.strategies",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
