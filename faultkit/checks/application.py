"""Promise: after a load the application holds what the checkpoint holds.

SILENT_WRONG: a load came back well, and what it gave back is not what it read; or an object took the state
(``load_state_dict``, ``set_state_dict`` and its like), and its own state is another then.  Compared are tensors bit for
bit, numbers, texts, names and dtypes; each rank looks for itself (`faultkit.injection.engine.application`).  Where
rank 0 hands its state to all ranks, they are compared with what it was given.

A cast is told unless it is allowed by name (``allow_cast``), and then only if the values are what the cast makes of
them; what need not come back at all is allowed with ``allow_unread``.

Not verified: what an object does not tell in its ``state_dict``, or cannot without the other ranks; what it is given by
another way; whether what was read is right (durable); the state after later steps of the job.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from faultkit.checks.model import RunAnalysis, told
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_ranks

__all__ = ["find"]

LEAVES_NAMED = 4
GLOSS = "the job goes on with something else than the checkpoint holds, without an error"
RANK_0 = "rank 0 had"
OTHER = "{}, and the object holds something else"

_Found = tuple[str, int, list[list[str]]]  # the words for the evidence, the rank, and what differs how


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    chosen = analysis.run.chosen
    found: dict[tuple[str, tuple[tuple[str, ...], ...]], list[int]] = {}
    for words, rank, leaves in [*_compared(analysis), *_kept(analysis), *_broadcast(analysis)]:
        kept = tuple(
            tuple(leaf)
            for leaf in leaves
            if not chosen.may_be_unread(leaf[0]) and not (leaf[1] == "cast" and chosen.may_be_cast(leaf[0]))
        )
        if kept:
            found.setdefault((words, kept), []).append(rank)
    for (words, differing), ranks in found.items():
        names = "; ".join(_described(*leaf) for leaf in differing[:LEAVES_NAMED])
        more = f"; and {len(differing) - LEAVES_NAMED} more" if len(differing) > LEAVES_NAMED else ""
        evidence = f"{words.format(f'came back well on {name_ranks(ranks)}')}: {names}{more}"
        yield Violation("application", Verdict.SILENT_WRONG, evidence, tuple(sorted(set(ranks))), GLOSS)


def _compared(analysis: RunAnalysis) -> Iterator[_Found]:
    """What ranks found that is not as it was loaded or given."""
    for rank, (attempt, where, leaves) in told(analysis.run, "differs", "attempt", "where", "leaves"):
        yield f"{where} {OTHER}" if where else f"load {attempt} {{}}, but not with what it read", rank, leaves


def _kept(analysis: RunAnalysis) -> Iterator[_Found]:
    """What ranks found as it had been before the load."""
    for rank, (attempt, holder, leaves) in told(analysis.run, "stayed", "attempt", "holder", "leaves"):
        yield f"load {attempt} {{}}, and the {holder} that it was for still is as before", rank, leaves


def _broadcast(analysis: RunAnalysis) -> Iterator[_Found]:
    """What other ranks have of what rank 0 was given for all, and is something else."""
    turns: dict[int, int] = {}
    given: dict[tuple[int, str], Any] = {}
    held: list[tuple[int, str, int, Any]] = []
    for rank, (where, pieces) in told(analysis.run, "broadcast", "where", "pieces"):
        turn = turns[rank] = turns.get(rank, 0) + 1
        if rank == 0:
            given[turn, where] = pieces
        else:
            held.append((turn, where, rank, pieces))
    for turn, where, rank, pieces in held:
        of_rank_0 = given.get((turn, where), {})
        leaves = []
        for name, own in pieces.items():
            there = {(tuple(offsets), tuple(sizes)): sums for offsets, sizes, sums in of_rank_0.get(name, ())}
            for offsets, sizes, sums in own:
                expected = there.get((tuple(offsets), tuple(sizes)))
                if expected is not None and list(expected) != list(sums):
                    kind = "value" if expected[0] == sums[0] else "cast"
                    leaves.append([name, kind, f"what {RANK_0}" if kind == "value" else expected[0], sums[0]])
                    break
        if leaves:
            yield f"{where} {OTHER}", rank, leaves


def _described(name: str, kind: str, then: str, now: str) -> str:
    name = repr(clip(name, 80))
    if kind == "gone":
        return f"{name} is not there"
    if kind == "cast":
        return f"{name} was cast from {then} to {now}"
    if kind == "untied":
        return f"{name} and {then!r} were one tensor, and are two now"
    if then == now or RANK_0 in then:
        return f"{name} has other values" + (f" than {then.removeprefix('what ')}" if RANK_0 in then else "")
    return f"{name} is {clip(now, 60)}, not {clip(then, 60)}"
