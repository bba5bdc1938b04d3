"""Resharding: is what N ranks saved the same everywhere?

states     what is saved, as a value with a text
ranks      what ranks do: give, load, read, compare (`compare`)
runner     one case: a state, the ranks that save it, those that load it, the readers
campaign   many states, and what is told of each sort of problem
shrink     the smallest case of a problem
rendering  lines and JSON
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.reshard.campaign import Findings, explore

__all__ = ["Findings", "explore"]

if not TYPE_CHECKING:  # else every misspelt name would type-check; a rank needs none of them
    _HOMES = {"Findings": "faultkit.reshard.campaign", "explore": "faultkit.reshard.campaign"}
    __getattr__, __dir__ = attach(__name__, _HOMES)
