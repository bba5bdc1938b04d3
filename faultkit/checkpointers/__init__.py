"""What is under test: `Checkpointer`, and the built-in ones by name, one module for each.

    from faultkit import Checkpointer, checkpointers

    checkpointers.get("dcp")                     a built-in one
    checkpointers.get("dcp,threads=2")           with an option
    checkpointers.get("mymodel.checkpoint:MINE") one of your own

Importing this package imports no torch and no engine.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.checkpointers.catalogue import BUILT_IN, find, get
    from faultkit.checkpointers.checkpointer import Checkpointer

__all__ = ["BUILT_IN", "Checkpointer", "find", "get"]

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "BUILT_IN": "faultkit.checkpointers.catalogue",
        "Checkpointer": "faultkit.checkpointers.checkpointer",
        "find": "faultkit.checkpointers.catalogue",
        "get": "faultkit.checkpointers.catalogue",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
