"""Promise: after a failed save the previous checkpoint still loads bit for bit, or the place is recognisably
incomplete.

Judged is what another process found after a save that succeeded on no rank (`faultkit.worlds.readback`).  Where
a checkpoint could be loaded before the run, it must load bit for bit as before.  Only where a rank died or did not
come back may the complete new one be there instead: the job may have been lost after that was published.
LOST_WORK: neither can be loaded, or the new one has replaced the old one although every rank was told that its
save had failed.  Where there was none, a load must raise, or give the complete new one.  SILENT_WRONG: something
loads without an error that is neither.  A checkpoint in another directory beneath the same place must be as
before, too, with the same exception.

Not verified: what durable does not verify either; how clearly the error of an incomplete place says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from faultkit.checks.durable import described_load, named, only_damaged
from faultkit.checks.model import RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation

__all__ = ["find"]


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    readbacks = analysis.run.readbacks
    saved = [found for found in readbacks if found.attempt]
    for found in readbacks:
        if found.succeeded or found.is_old:
            continue
        of = [found] if found.attempt else saved
        ranks = tuple(sorted({rank for one in of for rank in one.failed}))
        save = f"save {max((one.attempt for one in of), default=1)} failed"
        if any(one.is_new for one in of):
            if found.had_old and all(_is_known_to_have_failed(analysis, one.attempt) for one in of):
                gloss = "a save that failed replaced the checkpoint before it"
                yield Violation("intact", Verdict.LOST_WORK, _replaced(save, found), ranks, gloss)
            continue
        if found.kind == "hung" or (found.kind == "died" and not found.had_old):
            evidence = f"{save}, and a process that loads from the same place {described_load(found)}"
            yield Violation("intact", Verdict.HUNG if found.kind == "hung" else Verdict.DIED, evidence, ranks)
        elif found.kind != "loaded":
            if found.had_old and not (only_damaged(analysis) and found.kind == "raised"):
                evidence = f"{save}, and the checkpoint that was there before is lost: a load {described_load(found)}"
                yield Violation(
                    "intact",
                    Verdict.LOST_WORK,
                    evidence,
                    ranks,
                    "what was there before a failed save can no longer be loaded",
                )
        elif found.changed or (found.changed is None and found.wrong):
            gloss = "what a failed save left loads without an error"
            yield Violation("intact", Verdict.SILENT_WRONG, _mixed(save, found), ranks, gloss)


def _is_known_to_have_failed(analysis: RunAnalysis, number: int) -> bool:
    """Whether every rank was told that this save failed, and none died or did not come back."""
    seen = [one for attempt in analysis.attempts if attempt.op == "save" and attempt.number == number
            for one in attempt.observations.values()]  # fmt: skip
    return not analysis.lost_ranks and bool(seen) and all(one.kind == "raised" for one in seen)


def _replaced(save: str, found: Any) -> str:
    if not found.attempt:
        return f"{save}, every rank was told so, and yet a checkpoint that was there before is gone"
    how = (
        "the new data lies under the old .metadata"
        if found.has_old_index
        else "the save had been published before it was reported as failed"
    )
    return f"{save}, every rank was told so, and yet it replaced the checkpoint that was there before: {how}"


def _mixed(save: str, found: object) -> str:
    wrong: tuple[str, ...] | None = getattr(found, "wrong", None)
    changed: tuple[str, ...] | None = getattr(found, "changed", None)
    if changed is None:
        leaves = wrong or ()
        return (
            f"{save}, and what it left loads without an error, although {named(leaves)} "
            f"{'is' if len(leaves) == 1 else 'are'} not what was to be saved"
        )
    told = f"{save}, and what is there now loads without an error, but {named(changed)} "
    told += f"{'is' if len(changed) == 1 else 'are'} not as in the checkpoint before"
    if wrong:
        told += f", and {named(wrong)} {'is' if len(wrong) == 1 else 'are'} not what was to be saved either"
    return told
