"""What all trials came to, promise by promise.

Guarantees: of violations that are the same the smallest is kept, and efforts of one sort are added.  Not covered: what
is tried, and when (`faultkit.conformance.battery`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from faultkit.conformance.card import NOT_TRIED, Broken, Effort, PromiseResult, severity_of
from faultkit.conformance.promises import PROMISES, why_not
from faultkit.conformance.trials.trial import Trial
from faultkit.known import Identity

__all__ = ["left_out", "result_of"]


def result_of(
    name: str, checkpointer: Any, trials: Sequence[Trial], broken: Sequence[Broken]
) -> PromiseResult:
    """What `trials` tried of the promise of that name, and the smallest of each violation in `broken`."""
    promise = PROMISES[name]
    if why := why_not(promise, checkpointer):
        return PromiseResult(promise=name, sentence=promise.sentence, why_not=why, is_applicable=False)
    efforts: dict[str, Effort] = {}
    for effort in (one for trial in trials for one in trial.efforts(name)):
        efforts[effort.what] = _together(efforts.get(effort.what), effort)
    smallest: dict[Identity, Broken] = {}
    for one in broken:
        if one.promise == name:
            known = smallest.get(one.identity)
            if known is None or one.size < known.size:
                smallest[one.identity] = one
    kept = tuple(effort for effort in efforts.values() if effort.count or not effort.is_complete)
    return PromiseResult(
        promise=name,
        sentence=promise.sentence,
        efforts=kept,
        violations=tuple(sorted(smallest.values(), key=lambda one: (severity_of(one.verdict), one.size))),
        why_not="" if kept else _why_untried(name, trials),
        is_flaky=name == "round-trip" and any(getattr(trial, "flaky", False) for trial in trials),
    )


def _together(one: Effort | None, other: Effort) -> Effort:
    if one is None:
        return other
    total = None if one.total is None or other.total is None else one.total + other.total
    return Effort(one.what, one.count + other.count, total, one.is_complete and other.is_complete)


def _why_untried(name: str, trials: Sequence[Trial]) -> str:
    notes = [note for trial in trials if name in trial.promises for note in getattr(trial, "notes", ())]
    return notes[0] if notes else f"{NOT_TRIED.lower().replace('_', ' ')}: nothing tries it here"


def left_out(trials: Sequence[Trial], left: Sequence[Trial]) -> Iterator[str]:
    """What the time did not allow, in a line for each trial; `left` are those that had more to do."""
    for trial in trials:
        efforts = [effort for promise in trial.promises for effort in trial.efforts(promise)]
        open_ones = sorted({effort.text for effort in efforts if not effort.is_complete})
        if trial in left and (open_ones or not efforts):
            yield f"{trial.name}: {', '.join(open_ones) or 'nothing was tried'}"
        yield from getattr(trial, "notes", ())
