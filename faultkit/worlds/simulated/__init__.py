"""The simulated world: every rank is a thread of one process, exactly one runs, and who goes next is decided.

The real engine runs unmodified.  Where a rank enters a collective, touches the store, waits for a lock, sleeps or
starts a thread, the scheduler (`scheduler`) decides from a seed who goes on (`policies`); time is the scheduler's
(`patching`); messages follow gloo's own algorithms (`gloo`, `network`), so who waits for whom and who hears of a
member that is gone come out as with processes.  A hang is no timeout: nobody can run.  All of it happens in a host
process (`host`, `runs`) forked from the same server as ranks are, so the caller's process is never touched.

`compare` runs the same twice and finds the first difference; `explore` walks all schedules of a small case.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.exceptions import NotSimulatedError, ScheduleError
    from faultkit.worlds.simulated.determinism import Comparison, compare, first_difference
    from faultkit.worlds.simulated.exploration import Exploration, explore
    from faultkit.worlds.simulated.messages import Schedule, Simulation

__all__ = [
    "Comparison",
    "Exploration",
    "NotSimulatedError",
    "Schedule",
    "ScheduleError",
    "Simulation",
    "compare",
    "explore",
    "first_difference",
]

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "Comparison": "faultkit.worlds.simulated.determinism",
        "Exploration": "faultkit.worlds.simulated.exploration",
        "NotSimulatedError": "faultkit.exceptions",
        "Schedule": "faultkit.worlds.simulated.messages",
        "ScheduleError": "faultkit.exceptions",
        "Simulation": "faultkit.worlds.simulated.messages",
        "compare": "faultkit.worlds.simulated.determinism",
        "explore": "faultkit.worlds.simulated.exploration",
        "first_difference": "faultkit.worlds.simulated.determinism",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
