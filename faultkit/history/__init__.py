"""The life of a job as a state machine of Hypothesis: `checkpoint_history`; one life again: `replay_history`.

    from faultkit import strategies

    TestHistory = strategies.checkpoint_history(strategies.dcp_manager).TestCase

A job starts, saves, saves a step once more, fails while it saves, is killed while it saves, restarts on another
number of ranks, and prunes, all with the real engine, real ranks and real files.  After each restart, what was
loaded must be what `model` allows.  The falsifying example is the shortest history that breaks that.

Not covered: asynchronous saves, faults while pruning, and failures of the machine (see crash states).  Importing
this package imports neither Hypothesis nor torch: the ranks import some of its modules too.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.history.entry import LOAD_POINTS, SAVE_POINTS, checkpoint_history, replay_history

__all__ = ["LOAD_POINTS", "SAVE_POINTS", "checkpoint_history", "replay_history"]

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "LOAD_POINTS": "faultkit.history.entry",
        "SAVE_POINTS": "faultkit.history.entry",
        "checkpoint_history": "faultkit.history.entry",
        "replay_history": "faultkit.history.entry",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
