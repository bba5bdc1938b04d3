"""Promise: what a checkpoint holds is asked for by a rank that loads it.

LOST_WORK: a load came back well on every rank, and of what the checkpoint holds a name was in the plan of none of
them: the state was saved, and the job goes on without it.  Each rank notes what its plan does not read
(`faultkit.injection.engine.loads`); all loads of a checkpoint in a run count together, since a job may load the model
first and the optimizer later.

What is left on purpose is allowed by name (``allow_unread``), and a load of chosen keys (``keys=``) asks for no more
than these by itself.  ``allow_partial_load`` is the other way round, a target that may have more than the checkpoint,
and excuses nothing here.

Not verified: a run in which a rank did not return, but by a claim of its own, or a load failed last; parts of a tensor
that no rank reads; that what was read is put to use (application); checkpoints that the engine's readers do not read,
and files beside one.
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.checks.durable import named
from faultkit.checks.model import RunAnalysis, is_own_assertion, told
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import name_ranks
from faultkit.runs.outcomes import Outcome, Raised, Returned

__all__ = ["find"]

GLOSS = "state that was saved was not taken back, without an error"


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    run = analysis.run
    if _has_failed(analysis):
        return
    loads: dict[object, list[tuple[int, int, bool, list[str]]]] = {}  # of one checkpoint: rank, number, ...
    for rank, (path, is_own, number, is_partial, unread) in told(
        run, "read", "path", "own", "attempt", "partial", "unread"
    ):
        place = (path, rank if is_own else None)
        loads.setdefault(place, []).append((rank, number, is_partial, unread))
    for reads in loads.values():
        if all(is_partial for _, _, is_partial, _ in reads):
            continue
        left = set.intersection(*(set(unread) for *_, unread in reads))
        names = sorted(name for name in left if not run.chosen.may_be_unread(name))
        if names:
            ranks = sorted({rank for rank, *_ in reads})
            first = min(number for _, number, *_ in reads)
            evidence = (
                f"load {first} came back well on {name_ranks(ranks)}, and no rank asked for {named(names)}"
            )
            yield Violation("unread", Verdict.LOST_WORK, evidence, tuple(ranks), GLOSS)


def _has_failed(analysis: RunAnalysis) -> bool:
    """Whether a rank did not come to all that it would have asked for."""
    ends = told(analysis.run, "attempt_end", "op", "ok")
    last = {rank: bool(ok) for rank, (op, ok) in ends if op == "load"}
    came_through = all(
        isinstance(outcome, Returned) or (rank in analysis.unexplained and _is_own_claim(outcome))
        for rank, outcome in analysis.outcomes.items()
    )
    return not came_through or not all(last.values())


def _is_own_claim(outcome: Outcome) -> bool:
    """Whether the function looked at what it has, and found it wrong."""
    error = outcome.error if isinstance(outcome, Raised) else None
    return error is not None and (is_own_assertion(error) or error.type_name == "WrongContent")
