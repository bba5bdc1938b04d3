"""A broken promise, with the evidence for it; and what several of them come to."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from faultkit.checks.verdict import Verdict

__all__ = ["Violation", "meaning_of", "verdict_of"]


class Violation(msgspec.Struct, frozen=True):
    """`check` names the promise in the catalogue, `verdict` the harm; `evidence` is one or two sentences.

    `ranks` are the ranks that suffered it (the ones that hung, that were never told, that were told wrong),
    ascending; for ``INERT`` the ranks on which the fault should have fired.  `gloss` says in one clause what the
    harm is here, where that is more than the verdict says of itself.
    """

    check: str
    verdict: Verdict
    evidence: str
    ranks: tuple[int, ...] = ()
    gloss: str = ""

    @property
    def meaning(self) -> str:
        """One clause that says what the harm is, for people who meet the verdict for the first time."""
        return self.gloss or self.verdict.meaning


def verdict_of(violations: Iterable[Violation]) -> Verdict:
    """The worst verdict among `violations`; ``HELD`` if there are none."""
    return min(
        (violation.verdict for violation in violations), key=lambda one: one.severity, default=Verdict.HELD
    )


def meaning_of(verdict: Verdict, violations: Iterable[Violation]) -> str:
    """What `verdict` means where these are the `violations`: that of the first with this verdict."""
    return next((one.meaning for one in violations if one.verdict is verdict), verdict.meaning)
