"""What follows from evidence without running anything: where it began, who waits for whom, who shows what.

Guarantees: a rank is suspected for a reason that is told; one that only waits, or says that another is gone, is not.
Where the evidence says nothing about where it began, nobody is suspected.  Not covered: finding a plan that gives the
same picture (`faultkit.evidence.candidates`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from faultkit.evidence.consequences import is_consequence, is_timeout
from faultkit.evidence.values import Entry, Error, Evidence, RankEvidence

__all__ = ["First", "Told", "tell"]


class First(msgspec.Struct, frozen=True):
    """What failed first, as far as can be told, and why it is taken for that."""

    rank: int
    step: str
    type_name: str
    message: str
    why: str
    origin: str = ""
    error: Error | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """`suspects` are the ranks on which it began; `waits` maps a rank that waits to those that it waits for.

    `groups` are ranks that show the same, the largest first; `missing` ranks have left nothing; `advice` says what to
    collect the next time.
    """

    evidence: Evidence
    suspects: tuple[int, ...]
    why: str
    first: First | None
    waits: dict[int, tuple[int, ...]]
    groups: tuple[tuple[str, tuple[int, ...]], ...]
    missing: tuple[int, ...]
    advice: tuple[str, ...] = ()


def tell(evidence: Evidence) -> Told:
    """What follows from `evidence`."""
    waits = _waits(evidence)
    suspects, why = _suspects(evidence, waits)
    missing = tuple(rank for rank in range(evidence.world_size) if rank not in evidence.ranks)
    return Told(
        evidence=evidence,
        suspects=suspects,
        why=why,
        first=_first(evidence, suspects, why),
        waits=waits,
        groups=_groups(evidence.ranks.values()),
        missing=missing,
        advice=tuple(_advice(evidence, missing)),
    )


# -- who waits for whom ------------------------------------------------------------------------------------


def _waits(evidence: Evidence) -> dict[int, tuple[int, ...]]:
    """From flight recorders: the members of the collective that a rank is in that have not come to it."""
    recorders = {rank: one.recorder for rank, one in evidence.ranks.items() if one.recorder is not None}
    found: dict[int, tuple[int, ...]] = {}
    for rank, recorder in recorders.items():
        for entry in sorted(_open(recorder.entries), key=lambda one: one.created_ns):
            absent = [
                member
                for member in entry.members
                if member != rank and not _has_come(member, entry, evidence, recorders)
            ]
            if absent:
                found[rank] = tuple(absent)
                break
    return found


def _open(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if not entry.is_done and not entry.is_between_two]


def _has_come(member: int, entry: Entry, evidence: Evidence, recorders: Mapping[int, object]) -> bool:
    """Whether `member` has come to the collective `entry`, and to the same."""
    recorder = evidence.ranks[member].recorder if member in evidence.ranks else None
    if recorder is None:
        # nothing is known of it; where other ranks have left dumps, a member without one is gone
        return len(recorders) < 2
    theirs = [one for one in recorder.entries if one.group == entry.group and not one.is_between_two]
    same = [one for one in theirs if one.sequence == entry.sequence]
    if same:
        return same[0].operation.rpartition(":")[2] == entry.operation.rpartition(":")[2] or same[0].is_done
    return recorder.enqueued.get(entry.group, -1) >= entry.sequence


# -- where it began ----------------------------------------------------------------------------------------


def _suspects(evidence: Evidence, waits: dict[int, tuple[int, ...]]) -> tuple[tuple[int, ...], str]:
    ranks = evidence.ranks
    died = [
        rank
        for rank, one in ranks.items()
        if one.kind == "died" and one.exit is not None and not one.exit.by_launcher and one.exit.exitcode < 0
    ]
    if died:
        return tuple(died), "ended by a signal that the launcher did not send"
    if failed := _failed_in_a_checkpoint(evidence):
        return failed
    own = [rank for rank, one in ranks.items() if one.error is not None and _is_own(one.error)]
    if own:
        return _earliest(ranks, own), "raised an error of its own, while the others only lost it or waited"
    if absent := _absent(waits):
        return absent, "has not come to the collective in which the others wait"
    if odd := _odd_ones(ranks.values()):
        return odd, "is somewhere else than all others"
    gone = [rank for rank in range(evidence.world_size) if rank not in ranks]
    if gone and any(
        one.kind == "hung" or (one.error and is_consequence(one.error)) for one in ranks.values()
    ):
        return tuple(gone), "has left nothing, and the others wait or lost it"
    left = [
        rank for rank, one in ranks.items() if one.kind == "died" and one.exit and not one.exit.by_launcher
    ]
    return tuple(left), "ended with a status that is not 0" if left else ""


def _is_own(error: Error) -> bool:
    return bool(error.type_name) and not error.is_checkpoint_exception and not is_consequence(error)


def _failed_in_a_checkpoint(evidence: Evidence) -> tuple[tuple[int, ...], str] | None:
    """The ranks that CheckpointExceptions name; where most fail alike, those that fail otherwise."""
    failures: dict[int, Error] = {}
    for one in evidence.ranks.values():
        if one.error is not None and one.error.is_checkpoint_exception:
            failures.update(one.error.failures)
    primary = {rank: error for rank, error in failures.items() if not is_consequence(error)} or failures
    if not primary:
        return None
    kinds = Counter((error.type_name, _blurred(error.message)) for error in primary.values())
    if len(kinds) > 1 and len(primary) > 2:
        common, count = kinds.most_common(1)[0]
        odd = [
            rank for rank, error in primary.items() if (error.type_name, _blurred(error.message)) != common
        ]
        if count > len(primary) / 2:
            return tuple(sorted(odd)), "failed otherwise than the other ranks that the exception names"
    return tuple(sorted(primary)), "is named by the CheckpointException of the others"


def _absent(waits: dict[int, tuple[int, ...]]) -> tuple[int, ...]:
    """Those that others wait for, and that wait for nobody themselves; of a circle those that fewest wait with."""
    wanted = Counter(member for members in waits.values() for member in members)
    ends = [rank for rank in wanted if rank not in waits]
    if ends:
        return tuple(sorted(ends))
    if not wanted:
        return ()
    # each waits for the other: they are in different collectives; the few are the odd ones
    most = max(wanted.values())
    return tuple(sorted(rank for rank, count in wanted.items() if count == most and count > 1))


def _odd_ones(ranks: Iterable[RankEvidence]) -> tuple[int, ...]:
    """The minority that is in another place than all others, where these are more than twice as many."""
    places: dict[tuple[str, str], list[int]] = {}
    for one in ranks:
        if one.waiting or one.stacks:
            places.setdefault((one.waiting, one.step), []).append(one.rank)
    if len(places) < 2:
        return ()
    ordered = sorted(places.values(), key=len)
    odd = [rank for group in ordered[:-1] for rank in group]
    return tuple(sorted(odd)) if len(ordered[-1]) > 2 * len(odd) else ()


def _earliest(ranks: dict[int, RankEvidence], own: list[int]) -> tuple[int, ...]:
    """Of ranks with errors of their own those whose time is the earliest; all, where times are not told."""
    times = {rank: error.seconds for rank in own if (error := ranks[rank].error) is not None}
    known = [seconds for seconds in times.values() if seconds is not None]
    if len(known) == len(own) and len(set(known)) > 1:
        first = min(known)
        return tuple(
            sorted(rank for rank, seconds in times.items() if seconds is not None and seconds - first < 1.0)
        )
    return tuple(sorted(own))


def _first(evidence: Evidence, suspects: tuple[int, ...], why: str) -> First | None:
    if not suspects:
        return None
    rank = suspects[0]
    one = evidence.ranks.get(rank)
    error = next(
        (
            other.error.failures[rank]
            for other in evidence.ranks.values()
            if other.error is not None and rank in other.error.failures
        ),
        None,
    )
    step = next(
        (other.step for other in evidence.ranks.values() if other.error is not None and other.step), ""
    )
    if error is None and one is not None and one.error is not None and _is_own(one.error):
        error, step = one.error, one.step
    if error is not None and error.type_name:
        return First(rank, step, error.type_name, error.message, why, str(error.origin), error)
    if one is not None and one.exit is not None and not one.exit.by_launcher:
        told = one.exit.signal or f"exit({one.exit.exitcode})"
        return First(rank, one.step or step, told, "", why, str(one.exit.origin))
    where = one.waiting if one is not None else ""
    return First(
        rank,
        one.step if one is not None else "",
        "",
        f"it is in {where}" if where else "nothing is known of it",
        why,
        str(one.origins[0]) if one is not None and one.origins else "",
    )


# -- who shows what ----------------------------------------------------------------------------------------


def _groups(ranks: Iterable[RankEvidence]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    groups: dict[str, list[int]] = {}
    for one in ranks:
        groups.setdefault(_shown(one), []).append(one.rank)
    return tuple(
        (text, tuple(sorted(group))) for text, group in sorted(groups.items(), key=lambda item: -len(item[1]))
    )


def _shown(one: RankEvidence) -> str:
    """What a rank shows, without what differs between ranks that fare alike."""
    parts = [one.kind]
    if one.error is not None and one.error.type_name:
        named = (
            f" naming ranks {', '.join(map(str, sorted(one.error.failures)))}" if one.error.failures else ""
        )
        how = (
            " (timed out)"
            if is_timeout(one.error)
            else " (another rank was gone)"
            if is_consequence(one.error)
            else ""
        )
        parts.append(f"{one.error.type_name}{named}{how}")
    elif one.exit is not None:
        by = " by the launcher" if one.exit.by_launcher else ""
        parts.append(f"{one.exit.signal or f'exit({one.exit.exitcode})'}{by}")
    if one.waiting:
        parts.append(f"in {one.waiting}{f' of step {one.step!r}' if one.step else ''}")
    elif one.step:
        parts.append(f"in step {one.step!r}")
    return ", ".join(parts)


def _advice(evidence: Evidence, missing: tuple[int, ...]) -> Iterable[str]:
    ranks = evidence.ranks.values()
    if missing:
        yield "start the job by torchrun --redirects 3 --log-dir DIR, so that every rank has a log of its own"
    waiting = [one for one in ranks if one.kind == "hung" or (one.error and is_timeout(one.error))]
    if waiting and not any(one.recorder for one in ranks):
        yield "set TORCH_FR_BUFFER_SIZE=2000 and TORCH_NCCL_DUMP_ON_TIMEOUT=1: every rank then leaves a flight recorder"
    if waiting and not any(one.stacks for one in ranks):
        yield "take py-spy dump --pid PID of every rank while it hangs, into files named by rank"
    if any(one.kind == "died" and one.error is None for one in ranks):
        yield "wrap main by torch.distributed.elastic.multiprocessing.errors.record, which leaves an error.json"


def _blurred(text: str) -> str:
    """A message without numbers and paths, by which ranks that fail alike differ."""
    return re.sub(r"[0-9]+|'[^']{0,400}'|\"[^\"]{0,400}\"|/\S{1,400}", "#", text[:2_000])
