"""Garbage is collected when the host wants it, and each rank may think that it decides.

Finalizers run at fixed places, or two runs of the same would differ; so the collector is off in the host, whatever a
rank turns on or off.  Not covered: `gc.freeze`, thresholds and callbacks, which all ranks share.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

from faultkit.worlds.simulated.core.ranks import current_rank
from faultkit.worlds.simulated.core.rebinding import replace

__all__ = ["install"]


def install() -> None:
    """Once, in the host."""
    replace(gc, "enable", lambda original: _turning(original, is_on=True))
    replace(gc, "disable", lambda original: _turning(original, is_on=False))
    replace(gc, "isenabled", _told)


def _turning(original: Callable[[], None], *, is_on: bool) -> Callable[[], None]:
    def turn() -> None:
        rank = current_rank()
        if rank is None:
            original()
        else:
            rank.collects = is_on

    return turn


def _told(original: Callable[[], bool]) -> Callable[[], bool]:
    def isenabled() -> bool:
        rank = current_rank()
        return original() if rank is None else rank.collects

    return isenabled
