"""The report card: for every promise what was tried, how completely, what broke, and one grade; as frozen values.

Guarantees: a promise that was not tried, or that a checkpointer does not make, is told as that, and is never counted
as kept.  Of violations that are the same (`Broken.identity`) the smallest is kept, and those of one cause are told
together.  Not covered: trying (`faultkit.conformance.battery`) and rendering (`faultkit.report.card`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from faultkit.checks import Verdict
from faultkit.known.entries import Entry, Occurrence
from faultkit.known.identity import Identity
from faultkit.known.sorting import Sorted, sort

__all__ = [
    "NOT_APPLICABLE",
    "NOT_TRIED",
    "SCHEMA",
    "Broken",
    "Effort",
    "PromiseResult",
    "ReportCard",
    "severity_of",
]

SCHEMA = 1
NOT_TRIED, NOT_APPLICABLE = "NOT_TRIED", "NOT_APPLICABLE"


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A violation: which promise, what was seen, and the command that brings it back.

    `size` is larger for what is harder to look at; `known` names the known defect or the accepted violation that it is,
    "" where nobody has named it.
    """

    promise: str
    occurrence: Occurrence
    verdict: str
    replay: str
    size: int = 0
    known: str = ""
    story: str = ""
    hint: str = ""  # for the trial that found it: what to begin with the next time

    @property
    def identity(self) -> Identity:
        """The same wherever the same is seen."""
        return self.occurrence.identity

    @property
    def cause(self) -> tuple[str, ...]:
        """Equal for violations that are taken for one and shown at several points: the same promise broken in the same
        way, for the same ranks, in the same function."""
        one = self.identity
        return (self.promise, one.check, self.verdict, one.thread, one.where, one.roles, self.known)

    @property
    def check(self) -> str:
        return self.identity.check

    @property
    def evidence(self) -> str:
        """One or two sentences."""
        return self.occurrence.evidence


class Effort(msgspec.Struct, frozen=True):
    """How much of one kind was tried: "plans", "crash states", "damages", "lives" and so on.

    `total` is how many there are, None where there is no end to them; `is_complete` says whether all were tried
    within the bound of the campaign.
    """

    what: str
    count: int
    total: int | None = None
    is_complete: bool = True

    @property
    def text(self) -> str:
        if self.total is None or (self.is_complete and self.total == self.count):
            return f"{self.count:,} {self.what}" + ("" if self.is_complete else ", not all")
        return f"{self.count:,} of {self.total:,} {self.what}"


class PromiseResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one promise.  `why_not` says why it was not tried, or is not made; `is_flaky` where what is
    promised held in some runs of the same and not in others."""

    promise: str
    sentence: str
    efforts: tuple[Effort, ...] = ()
    violations: tuple[Broken, ...] = ()
    why_not: str = ""
    is_applicable: bool = True
    is_flaky: bool = False

    @property
    def tried(self) -> int:
        return sum(effort.count for effort in self.efforts)

    @property
    def new(self) -> tuple[Broken, ...]:
        """The violations that nobody has named before."""
        return tuple(broken for broken in self.violations if not broken.known)

    @property
    def is_complete(self) -> bool:
        return bool(self.efforts) and all(effort.is_complete for effort in self.efforts)

    @property
    def verdict(self) -> str:
        """The worst verdict, HELD, `NOT_TRIED` or `NOT_APPLICABLE`."""
        if not self.is_applicable:
            return NOT_APPLICABLE
        if self.violations:
            return min((one.verdict for one in self.violations), key=severity_of)
        return "HELD" if self.tried else NOT_TRIED


class ReportCard(msgspec.Struct, frozen=True, kw_only=True):
    """A whole check of one checkpointer.  `left_out` says in sentences what the time did not allow; `date` is the day
    (UTC, ISO 8601)."""

    checkpointer: str
    torch: str
    faultkit: str
    world_size: int
    kind: str
    seed: int
    budget_seconds: float
    promises: tuple[PromiseResult, ...]
    left_out: tuple[str, ...] = ()
    seconds: float = 0.0
    is_interrupted: bool = False
    date: str = ""
    sorted: Sorted | None = None

    @property
    def violations(self) -> tuple[Broken, ...]:
        """All of them, worst first."""
        found = [broken for promise in self.promises for broken in promise.violations]
        return tuple(sorted(found, key=lambda broken: severity_of(broken.verdict)))

    @property
    def causes(self) -> tuple[tuple[Broken, ...], ...]:
        """The violations by what is taken for one cause, worst first; the smallest of each comes first."""
        found: dict[tuple[str, ...], list[Broken]] = {}
        for broken in self.violations:
            found.setdefault(broken.cause, []).append(broken)
        return tuple(tuple(sorted(several, key=lambda broken: broken.size)) for several in found.values())

    @property
    def held(self) -> bool:
        """Whether every promise that was tried was kept, or what broke it is known."""
        return not any(promise.new for promise in self.promises)

    @property
    def is_complete(self) -> bool:
        return all(promise.is_complete for promise in self.promises if promise.is_applicable)

    @property
    def totals(self) -> dict[str, int]:
        """How many promises came to each verdict, worst first."""
        counts = Counter(promise.verdict for promise in self.promises)
        return {word: counts[word] for word in sorted(counts, key=severity_of)}

    @property
    def grade(self) -> str:
        """The worst broken promise that is not known, and how complete the search was."""
        worst = next((broken for broken in self.violations if not broken.known), None)
        tried = [promise for promise in self.promises if promise.tried]
        complete = sum(promise.is_complete for promise in tried)
        how = (
            "search complete"
            if self.is_complete
            else f"search complete for {complete} of {len(tried)} promises"
        )
        if worst is not None:
            return f"{worst.verdict}: {worst.promise} broken; {how}"
        known = sum(bool(promise.violations) for promise in self.promises)
        kept = f"HELD: {len(tried) - known} promises kept"
        return f"{kept}{f', {known} broken as known' if known else ''}; {how}"

    def sorted_by(self, entries: Sequence[Entry]) -> ReportCard:
        """The same with what `entries` know of it."""
        found = sort([broken.occurrence for broken in self.violations], entries)
        promises = tuple(
            msgspec.structs.replace(
                promise,
                violations=tuple(
                    msgspec.structs.replace(one, known=found.names.get((one.identity, one.evidence), ""))
                    for one in promise.violations
                ),
            )
            for promise in self.promises
        )
        return msgspec.structs.replace(self, promises=promises, sorted=found)

    def raise_for_violations(self) -> None:
        """Raises AssertionError with the whole card where a promise is broken and nobody has named that before."""
        __tracebackhide__ = True
        if not self.held:
            raise AssertionError(self.text())

    def text(self, width: int | None = None) -> str:
        """The card for a terminal."""
        from faultkit.report.card import as_text

        return as_text(self, width)

    def to_builtins(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "checkpointer": self.checkpointer,
            "torch": self.torch,
            "faultkit": self.faultkit,
            "world": self.world_size,
            "kind": self.kind,
            "seed": self.seed,
            "date": self.date,
            "budget": self.budget_seconds,
            "promises": [
                {
                    "promise": one.promise,
                    "sentence": one.sentence,
                    "verdict": one.verdict,
                    "tried": one.tried,
                    "complete": one.is_complete,
                    "efforts": msgspec.to_builtins(one.efforts),
                    "violations": [
                        {
                            "check": broken.check,
                            "verdict": broken.verdict,
                            "evidence": broken.evidence,
                            "replay": broken.replay,
                            "identity": broken.identity.to_builtins(),
                            "scenario": broken.occurrence.scenario,
                            "known": broken.known or None,
                            **({"hint": broken.hint} if broken.hint else {}),
                        }
                        for broken in one.violations
                    ],
                    **({"why": one.why_not} if one.why_not else {}),
                    **({"flaky": True} if one.is_flaky else {}),
                }
                for one in self.promises
            ],
            "totals": self.totals,
            "grade": self.grade,
            "left_out": list(self.left_out),
            "interrupted": self.is_interrupted,
            **({"known": self.sorted.to_builtins()} if self.sorted is not None else {}),
            "seconds": round(self.seconds, 3),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_builtins(), indent=1) + "\n"


_ORDER = {str(verdict): verdict.severity for verdict in Verdict}


def severity_of(word: str) -> int:
    """0 for the worst; words that say that nothing was tried come last."""
    return _ORDER.get(word, len(_ORDER) + (word == NOT_APPLICABLE))
