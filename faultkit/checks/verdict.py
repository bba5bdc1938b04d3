"""The one word for a run.  The order of the members is the order of harm, worst first."""

from __future__ import annotations

import enum

__all__ = ["Verdict"]


class Verdict(enum.StrEnum):
    """What a run came to.  A member equals its name: ``Verdict.HUNG == "HUNG"``; `str` order means nothing.

    Compare harm by `severity`.
    """

    SILENT_WRONG = "SILENT_WRONG"
    LOST_WORK = "LOST_WORK"
    HUNG = "HUNG"
    DIED = "DIED"
    PARTIAL = "PARTIAL"
    MISATTRIBUTED = "MISATTRIBUTED"
    MASKED = "MASKED"
    LATE = "LATE"
    LEAKED = "LEAKED"
    UNUSABLE = "UNUSABLE"
    INERT = "INERT"
    HELD = "HELD"

    @property
    def severity(self) -> int:
        """0 for the worst, larger for the more harmless; ``HELD`` has the largest."""
        return _SEVERITY[self]

    @property
    def meaning(self) -> str:
        """One clause that says what the word means, for people who meet it for the first time."""
        return _MEANING[self]


_SEVERITY = {verdict: place for place, verdict in enumerate(Verdict)}

_MEANING = {
    Verdict.SILENT_WRONG: "wrong data was taken for good, without an error",
    Verdict.LOST_WORK: "work that was saved is lost",
    Verdict.HUNG: "a rank waited for ever",
    Verdict.DIED: "a rank died that no fault had killed",
    Verdict.PARTIAL: "some ranks never learned of the failure",
    Verdict.MISATTRIBUTED: "the wrong ranks were named as failed",
    Verdict.MASKED: "the real cause did not reach every rank",
    Verdict.LATE: "a rank learned only at the process group's timeout",
    Verdict.LEAKED: "something outlived the run",
    Verdict.UNUSABLE: "work failed in which nothing had been broken",
    Verdict.INERT: "a planned fault never fired, so the run proves nothing",
    Verdict.HELD: "every promise was kept",
}
