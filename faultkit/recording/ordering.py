"""What must have happened before what, beyond the order of one thread: collectives, stores, threads.

Guarantees: each pair of `edges` is true of every execution that issued the same calls.  A rank leaves a collective of
all to all (allreduce, allgather, barrier ...) after every rank entered it; one from a root (broadcast, scatter)
after the root entered it; of one to a root (gather, reduce) only the root waits for all.  A receive ends after the
matching send began.  Who has waited for a key of a store, or got it, comes after the one `set` of it that there is,
and who has left the barrier of torchelastic, which is made of a store, after all that entered it.  What a thread does
follows its start, a join follows all that the thread had done, and a wait what it had done when it handed something
over.

A store orders nothing else, since that would hold in this run by chance: a key that was there before, that several
changed or that was deleted; the totals of `add`, of which nobody knows whether the code goes by them; a key that is
polled.

Not covered: the order of one thread, which is that of the operations, what locks add to it, a key that somebody writes
who is not recorded (another process, C++).
"""

from __future__ import annotations

from collections import defaultdict

from faultkit.recording.operations import Operation, Recording
from faultkit.recording.store_events import BARRIER_ENTERED, BARRIER_LEFT

__all__ = ["FROM_ROOT", "TO_ROOT", "edges"]

FROM_ROOT = frozenset({"broadcast", "scatter"})
TO_ROOT = frozenset({"gather", "reduce"})


def edges(recording: Recording) -> tuple[tuple[int, int], ...]:
    """Pairs (index before, index after) of the recording's operations, sorted, each once."""
    found = {
        *_of_collectives(recording),
        *_of_messages(recording),
        *_of_stores(recording),
        *_of_threads(recording),
    }
    return tuple(sorted(found))


def _of_collectives(recording: Recording) -> set[tuple[int, int]]:
    rounds: dict[tuple[tuple[int, ...], int], tuple[list[Operation], list[Operation]]] = defaultdict(
        lambda: ([], [])
    )
    for one in recording.operations:
        if one.kind == "collective" and one.name not in ("send", "recv", "recv_anysource"):
            rounds[one.group, one.number][one.phase == "leave"].append(one)
    found = set()
    for entered, left in rounds.values():
        # who could leave before another came waits for nobody
        all_wait = max((one.index for one in entered), default=0) < min(
            (one.index for one in left), default=0
        )
        for leave in left:
            for enter in entered:
                waits = (
                    enter.rank == leave.root
                    if leave.name in FROM_ROOT
                    else leave.rank == leave.root
                    if leave.name in TO_ROOT
                    else all_wait
                )
                waits = waits and enter.index < leave.index
                if waits and enter.rank != leave.rank and enter.name == leave.name:
                    found.add((enter.index, leave.index))
    return found


def _of_messages(recording: Recording) -> set[tuple[int, int]]:
    sent: dict[tuple[tuple[int, ...], int, int, int], Operation] = {}
    for one in recording.operations:
        if one.kind == "collective" and one.name == "send" and one.phase == "enter":
            sent[one.group, one.rank, one.root, one.number] = one
    found = set()
    for one in recording.operations:
        if one.kind == "collective" and one.name == "recv" and one.phase == "leave":
            send = sent.get((one.group, one.root, one.rank, one.number))
            if send is not None:
                found.add((send.index, one.index))
    return found


def _of_stores(recording: Recording) -> set[tuple[int, int]]:
    changes: dict[str, list[Operation]] = defaultdict(list)
    seen: dict[str, list[Operation]] = defaultdict(list)
    for one in recording.operations:
        if one.kind == "store":
            (changes if one.phase == "enter" else seen)[one.target].append(one)
    found = set()
    for place, changed in changes.items():
        leaves = seen[place]
        if [one.name for one in changed] == ["set"] and _all_before(changed, leaves):
            found |= _pairs(changed, leaves)
        if place.endswith(BARRIER_ENTERED):
            last = place.removesuffix(BARRIER_ENTERED) + BARRIER_LEFT
            if _is_barrier(changed, changes.get(last, [])):
                left = seen.get(last, [])
                found |= _pairs(changed, left) if _all_before(changed, left) else set()
    return found


def _is_barrier(entered: list[Operation], told: list[Operation]) -> bool:
    """Whether these are all that enter one barrier, which was never used before, and the last of them has told so."""
    count = entered[0].root
    totals = {one.number: one for one in entered}
    return (
        count == len(entered)
        and all((one.name, one.root) == ("add", count) for one in entered)
        and sorted(totals) == [*range(1, count + 1)]
        and [(one.name, one.rank, one.thread) for one in told]
        == [("set", totals[count].rank, totals[count].thread)]
    )


def _all_before(first: list[Operation], then: list[Operation]) -> bool:
    """Else somebody did not wait for it, and nobody knows for what."""
    return max(one.index for one in first) < min((one.index for one in then), default=0)


def _pairs(first: list[Operation], then: list[Operation]) -> set[tuple[int, int]]:
    return {(one.index, other.index) for one in first for other in then if one.rank != other.rank}


def _of_threads(recording: Recording) -> set[tuple[int, int]]:
    by_thread: dict[tuple[int, int], list[Operation]] = defaultdict(list)
    for one in recording.operations:
        by_thread[one.rank, one.thread].append(one)
    found = set()
    for one in recording.operations:
        if one.kind != "thread":
            continue
        if one.phase == "wait":
            found.add((one.after, one.index))
            continue
        others = by_thread[one.rank, one.number]
        if one.phase == "start":
            later = [other.index for other in others if other.seconds >= one.seconds]
            if later:
                found.add((one.index, later[0]))
        else:
            done = [other.index for other in others if other.end_seconds <= one.seconds]
            if done:
                found.add((done[-1], one.index))
    return found
