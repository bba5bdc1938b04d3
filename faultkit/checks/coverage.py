"""Promise: a load fills every element that it was asked for, or raises.

SILENT_WRONG: a load came back well, and left elements of its targets as they had been.  Each rank looks for itself
(`faultkit.injection.engine.content`): before the engine reads, the targets are filled with random bytes, and what still
holds them afterwards was never filled.  The same is done where a save is read back.

Not verified: values that are no tensors, tensors that are not in the memory of the CPU, fewer than 8 bytes in a
row of a larger tensor, in large states less than 64 KiB between two stripes (`faultkit.injection.engine.stripes`), and
that what was filled in is right (durable); a load that is allowed to be partial (``allow_partial_load``) was not asked
for what is not there.
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.checks.durable import named
from faultkit.checks.model import RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_ranks

__all__ = ["find"]

LEAVES_NAMED = 3
GLOSS = "a load left elements as they had been, without an error"


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    told: dict[tuple[int, str], list[int]] = {}
    for event in analysis.run.events:
        if event.kind == "unfilled" and isinstance(event.data, dict):
            leaves = [_described(*leaf) for leaf in event.data.get("leaves", ())[:LEAVES_NAMED]]
            more = len(event.data.get("leaves", ())) - len(leaves)
            text = "; ".join(leaves) + (f"; and {more} more" if more > 0 else "")
            told.setdefault((event.data.get("attempt", 0), text), []).append(event.rank)
    for (attempt, text), ranks in told.items():
        evidence = f"load {attempt} came back well on {name_ranks(ranks)} and did not fill {text}"
        yield Violation("coverage", Verdict.SILENT_WRONG, evidence, tuple(sorted(set(ranks))), GLOSS)
    for found in analysis.run.readbacks:
        if found.unfilled:
            evidence = (
                f"a process that loads what was saved is not told that {named(found.unfilled)} have holes"
            )
            yield Violation(
                "coverage", Verdict.SILENT_WRONG, evidence, found.succeeded or found.failed, GLOSS
            )


def _described(name: str, count: int, total: int, first: int) -> str:
    if count == total:
        return f"{clip(name, 80)!r} (none of {total} elements)"
    return f"{clip(name, 80)!r} ({count} of {total} elements, the first at {first})"
