"""`Readback`: one checkpoint as it was found after a run, for the checks `durable` and `intact`.

Not covered: how it is found (`faultkit.worlds.readback`).
"""

from __future__ import annotations

import msgspec

__all__ = ["STEP_NAME", "OtherReading", "Readback"]

STEP_NAME = (
    "the step that load returned"  # which stands beside the leaves of what was loaded, and is none of them
)


class OtherReading(msgspec.Struct, frozen=True):
    """What another reader made of a checkpoint that loads as it was saved: its error, or the leaves that differ."""

    reader: str
    error: str = ""
    wrong: tuple[str, ...] = ()


class Readback(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint as it was found after the run.

    `kind` is "loaded", "raised", "hung" or "died": what became of the load.  `attempt` is the number of the last
    save of the run that went to `path`, 0 where none did; `succeeded` are the ranks to which it reported success,
    `failed` those to which it did not.  `wrong` names the leaves that are not what that save was given, None
    where that is not known; `differing` those of which ranks held different values under one name, each with the
    ranks whose value is not the one that is there.  `changed` names those that are not what was loaded from `path`
    before the run; `had_old` tells whether a checkpoint could be loaded from there then, and `has_old_index` whether
    its ``.metadata`` is still there as it was.  `unfilled` names the leaves that the load left with holes.
    `later` names those of the wrong leaves that hold what stood in their place after the call of an asynchronous save
    had returned.
    `unreferenced` names the files of data beside a checkpoint that loads, to which it does not refer.  `others` has
    what the other readers made of it, of those that did not find the same.
    """

    path: str
    kind: str
    error: str = ""
    attempt: int = 0
    succeeded: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    wrong: tuple[str, ...] | None = None
    later: tuple[str, ...] = ()
    differing: tuple[tuple[str, tuple[int, ...]], ...] = ()
    changed: tuple[str, ...] | None = None
    had_old: bool = False
    has_old_index: bool = False
    unfilled: tuple[str, ...] = ()
    unreferenced: tuple[str, ...] = ()
    others: tuple[OtherReading, ...] = ()
    seconds: float = 0.0

    @property
    def is_new(self) -> bool:
        """Whether exactly what the save was given is there."""
        return self.kind == "loaded" and self.wrong == () and not self.unfilled

    @property
    def is_old(self) -> bool:
        """Whether exactly what was there before the run is there."""
        return self.kind == "loaded" and self.changed == () and not self.unfilled
