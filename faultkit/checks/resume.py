"""Promise: a job that is killed and resumed goes on as if nothing had happened.

Judged is the run of a job that was started again (`faultkit.resume`), against one that was never stopped.  LOST_WORK:
its load gave nothing, or an older step than the newest whose save had returned on every rank.  SILENT_WRONG: ranks came
back to different steps, or to one that nobody had begun to save; or what the job has after the load, what it is then
trained on, what its steps give or what it has after them is not the same.  What differs first is told, and what
followed from it.

Not verified: what the training does not give, hold or draw from (`docs/resume.md` says what is looked at); a load that
raises or hangs, which other checks tell; and runs that are no restart of a `Trainer`.
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.checks.model import RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import name_ranks
from faultkit.runs.resumption import Difference, Resumption

__all__ = ["find"]

NAMED = 3  # of what differs first


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    found: Resumption | None = getattr(analysis.run, "resumption", None)
    if found is None or not found.came_back:
        return
    yield from _wrong_step(found) or _differing(found)


def _wrong_step(found: Resumption) -> list[Violation]:
    by_step: dict[int | None, list[int]] = {}
    for rank, step in sorted(found.came_back.items()):
        by_step.setdefault(step, []).append(rank)
    told = "; ".join(
        f"{name_ranks(ranks)} came back to {'nothing' if step is None else f'step {step}'}"
        for step, ranks in by_step.items()
    )
    if len(by_step) > 1:
        everybody = tuple(sorted(found.came_back))
        return [
            Violation("resume", Verdict.SILENT_WRONG, f"ranks go on from different steps: {told}", everybody)
        ]
    [(step, ranks)] = by_step.items()
    if (step or 0) < found.acknowledged:
        why = f"{told}, although the save of step {found.acknowledged} had returned on every rank"
        return [Violation("resume", Verdict.LOST_WORK, why, tuple(ranks))]
    if step is not None and step > found.begun:
        why = f"{told}, although no save of a step after {found.begun} had begun: what is counted is not the step"
        return [Violation("resume", Verdict.SILENT_WRONG, why, tuple(ranks))]
    return []


def _differing(found: Resumption) -> list[Violation]:
    if not found.differences:
        return []
    first = found.differences[0]
    together = [one for one in found.differences if _place(one) == _place(first)]
    resharded = (
        "" if found.saved_ranks == len(found.came_back) else f" that {_ranks(found.saved_ranks)} had saved"
    )
    same_ranks = len({one.ranks for one in together}) == 1
    told = "; ".join(_said(one, same_ranks) for one in together[:NAMED])
    if len(together) > NAMED:
        told += f"; and {len(together) - NAMED} more"
    for kind in ("data", "output"):
        following = next((one for one in found.differences if one.kind == kind), first)
        if following not in together:
            told += f"; then {_when(following)}, {_said(following)}"
    ranks = tuple(sorted({rank for one in together for rank in one.ranks}))
    where = f" on {name_ranks(first.ranks)}" if same_ranks and first.ranks and first.kind != "data" else ""
    return [
        Violation(
            "resume",
            Verdict.SILENT_WRONG,
            f"{_when(first)}{resharded if first.moment == 'load' else ''}{where}, {told}",
            ranks,
            "the job goes on otherwise than it would have",
        )
    ]


def _place(one: Difference) -> tuple[str, int, str]:
    return one.moment, one.step, one.kind


def _when(one: Difference) -> str:
    return f"after the load of step {one.step}" if one.moment == "load" else f"in step {one.step}"


def _ranks(count: int) -> str:
    return "1 rank" if count == 1 else f"{count} ranks"


def _said(one: Difference, without_ranks: bool = False) -> str:
    if without_ranks or not one.ranks or one.kind == "data":
        return one.told
    return f"on {name_ranks(one.ranks)} {one.told}"
