"""Record what a run does to files, below every buffer, as values in one order.

`record` runs a function on the ranks of a world, `record_command` a command; the values are in
`faultkit.files.operations`, what orders ranks and threads in `faultkit.files.ordering`, and the place through which
recorder and faults see each operation in `faultkit.files.primitives`.  A recorded process imports this package at
its start, so each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.files.command import CommandRecorded, record_command
    from faultkit.files.operations import Operation, Recording, RecordingError, describe, describe_all
    from faultkit.files.ordering import edges
    from faultkit.files.recording import Recorded, record
    from faultkit.files.tree import tree_after

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

_HOMES = {
    "CommandRecorded": "command",
    "Operation": "operations",
    "Recorded": "recording",
    "Recording": "operations",
    "RecordingError": "operations",
    "describe": "operations",
    "describe_all": "operations",
    "edges": "ordering",
    "record": "recording",
    "record_command": "command",
    "tree_after": "tree",
}


if not TYPE_CHECKING:  # else every misspelt name would type-check

    def __getattr__(name: str) -> object:
        if name in _HOMES:
            value = getattr(importlib.import_module(f"faultkit.files.{_HOMES[name]}"), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module 'faultkit.files' has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
