"""`Resumption`: how a job that was started again compares with the one that was never stopped, for the check `resume`.

Not covered: how it is compared (`faultkit.resume`).
"""

from __future__ import annotations

import msgspec

__all__ = ["Difference", "Resumption"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as in the job that was never stopped.

    `moment` is "load" for what was so when the load came back, else "step".  `step` is the number of the step, 1-based,
    after which it was seen; of "load" the one that was loaded.  `kind` is "data" (what a step was trained on), "output"
    (what it gave) or "state" (what the job had after it).  `told` says it in a clause that begins with `name`'s noun.
    """

    moment: str
    step: int
    kind: str
    name: str
    told: str
    ranks: tuple[int, ...]


class Resumption(msgspec.Struct, frozen=True, kw_only=True):
    """A job that `saved_ranks` ranks had saved, in the run that started it again.

    `acknowledged` is the newest step whose save had returned on every rank, 0 for none; `begun` the newest whose save
    had begun on any.  `came_back` maps each rank that said so to the step that its load gave, None for nothing.
    `differences` stand in the order in which they came up, of one step what is nearest to the cause first.  `notes` say
    what could not be compared, and why.
    """

    saved_ranks: int
    acknowledged: int
    begun: int
    came_back: dict[int, int | None]
    steps: int
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
