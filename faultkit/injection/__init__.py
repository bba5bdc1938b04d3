"""How a plan enters a rank: sessions, the interposed engine, and storage objects that fail by plan.

`arm` makes one process follow a plan while the user's code and the engine stay as they are;
`FaultyStorageWriter` and `FaultyStorageReader` are storage objects that carry a plan of their own and work
anywhere, also in a plain unit test.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.injection.arming import arm
    from faultkit.injection.session import Session
    from faultkit.injection.session_parts.armed import current
    from faultkit.injection.storage import FaultyStorageReader, FaultyStorageWriter

__all__ = ["FaultyStorageReader", "FaultyStorageWriter", "Session", "arm", "current"]

if (
    not TYPE_CHECKING
):  # else every misspelt name would type-check; a rank needs no storage objects before they are used
    _HOMES = {
        "FaultyStorageReader": "faultkit.injection.storage",
        "FaultyStorageWriter": "faultkit.injection.storage",
        "Session": "faultkit.injection.session",
        "arm": "faultkit.injection.arming",
        "current": "faultkit.injection.session_parts.armed",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
