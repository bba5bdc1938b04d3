"""Who runs: `World`, the outcomes of its ranks, and the run as a value.

The path of a run through these modules: `world` (what a user calls) hands it to its kind (`kinds`), which has the fork
server start `rank_processes` (`rank`), and lets `supervision` follow one call; `deadlock_detector` decides whether
anybody can still make progress.  What lies between the processes is in `faultkit.processes`.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.exceptions import HarnessError, TransportError
    from faultkit.runs.outcomes import Died, ErrorRecord, Event, Fired, Hung, Outcome, Raised, Returned
    from faultkit.runs.run import Run
    from faultkit.worlds.world import World

__all__ = [
    "Died",
    "ErrorRecord",
    "Event",
    "Fired",
    "HarnessError",
    "Hung",
    "Outcome",
    "Raised",
    "Returned",
    "Run",
    "TransportError",
    "World",
]

if not TYPE_CHECKING:  # else every misspelt name would type-check; a rank needs none of them
    _OUTCOMES = "Died ErrorRecord Event Fired Hung Outcome Raised Returned".split()
    _HOMES = {
        "HarnessError": "faultkit.exceptions",
        "Run": "faultkit.runs.run",
        "TransportError": "faultkit.exceptions",
        "World": "faultkit.worlds.world",
        **dict.fromkeys(_OUTCOMES, "faultkit.runs.outcomes"),
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
