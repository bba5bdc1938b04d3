"""Record what a run does to files, below every buffer, as values in one order.

`record` runs a function on the ranks of a world, `record_command` a command; the values are in
`faultkit.recording.operations`, what orders ranks and threads in `faultkit.recording.ordering`, and the place through
which recorder and faults see each operation in `faultkit.interception.chain`.  A recorded process imports this package
at its start, so each name is loaded when it is first used.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.exceptions import RecordingError
    from faultkit.recording.command import CommandRecorded, record_command
    from faultkit.recording.operations import Operation, Recording, describe, describe_all
    from faultkit.recording.ordering import edges
    from faultkit.recording.recording import Recorded, record
    from faultkit.recording.tree import tree_after

__all__ = [
    "CommandRecorded",
    "Operation",
    "Recorded",
    "Recording",
    "RecordingError",
    "describe",
    "describe_all",
    "edges",
    "record",
    "record_command",
    "tree_after",
]

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "CommandRecorded": "faultkit.recording.command",
        "Operation": "faultkit.recording.operations",
        "Recorded": "faultkit.recording.recording",
        "Recording": "faultkit.recording.operations",
        "RecordingError": "faultkit.exceptions",
        "describe": "faultkit.recording.operations",
        "describe_all": "faultkit.recording.operations",
        "edges": "faultkit.recording.ordering",
        "record": "faultkit.recording.recording",
        "record_command": "faultkit.recording.command",
        "tree_after": "faultkit.recording.tree",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
