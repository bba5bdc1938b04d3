"""Promise: what a save stores once for all ranks is the same on every rank that gives it.

SILENT_WRONG: ranks gave different values under one name and place, of which one is stored, without an error.  Which
that is follows from sizes and numbers of ranks; whoever loads gets it, on every rank.  Judged are the checksums that
each rank notes of what it gives to a save (`faultkit.injection.engine.content`), of saves that reported success to at
least one rank; of a distributed tensor those parts that several ranks hold.

Not verified: tensors that are not in the memory of the CPU, a save with a planner that names or
changes values by itself, an object that does not come back from pickle as it was.  A save without collectives stores
what each rank gives, and so does one with names of its own for each rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from faultkit.checks.durable import named
from faultkit.checks.model import RunAnalysis, told
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import name_ranks, plural

__all__ = ["find"]

GLOSS = "one rank's value is stored for all, and the others had another"

HOLDERS_NAMED = 3

_Holders = tuple[tuple[int, ...], ...]  # the ranks that hold one value, those that hold the next, ...


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    found: dict[tuple[_Holders, tuple[str, ...]], list[int]] = {}  # -> numbers of the saves
    for number, given in _saves(analysis):
        by_holders: dict[_Holders, list[str]] = {}
        for name, holders in _differing(given):
            by_holders.setdefault(holders, []).append(name)
        for holders, names in by_holders.items():
            found.setdefault((holders, tuple(names)), []).append(number)
    for (holders, common), numbers in found.items():
        label = f"save {numbers[0]}"
        if len(numbers) > 1:
            label += f", as {len(numbers) - 1} more,"
        first, *others = sorted(holders, key=len, reverse=True)
        has = f"{name_ranks(first)} {plural(first, 'has', 'have')} one and "
        has += ", ".join(f"{name_ranks(ranks)} another" for ranks in others[:HOLDERS_NAMED])
        if len(others) > HOLDERS_NAMED:
            has += f", {len(holders)} values in all"
        evidence = f"{label} stores one value of {named(common)} for all ranks, of which {has}"
        is_alone = len(first) == len(others[0])  # nobody is more right than the others
        ranks = {rank for group in (holders if is_alone else others) for rank in group}
        yield Violation("replicas", Verdict.SILENT_WRONG, evidence, tuple(sorted(ranks)), GLOSS)


def _saves(analysis: RunAnalysis) -> Iterator[tuple[int, dict[int, dict[str, Any]]]]:
    """The number of each save that succeeded somewhere, with what its ranks gave: by rank, by name its pieces."""
    run = analysis.run
    ends = {(rank, number) for rank, (number, ok) in told(run, "attempt_end", "attempt", "ok") if ok}
    saves: dict[Any, dict[int, list[tuple[int, Any]]]] = {}  # place and group -> rank -> each save
    for rank, (path, group, of_rank, number, leaves) in told(
        run, "content", "path", "group", "of_rank", "attempt", "leaves"
    ):
        if of_rank is None:
            place = (path, None if group is None else tuple(group))
            saves.setdefault(place, {}).setdefault(rank, []).append((number, leaves))
    for by_rank in saves.values():
        for turn in range(max(map(len, by_rank.values()))):
            here = {rank: each[turn] for rank, each in by_rank.items() if turn < len(each)}
            if any((rank, number) in ends for rank, (number, _) in here.items()):
                number = min(number for number, _ in here.values())
                yield number, {rank: leaves for rank, (_, leaves) in here.items() if leaves is not None}


def _differing(given: dict[int, dict[str, Any]]) -> Iterator[tuple[str, _Holders]]:
    """Each name under which ranks hold different values in one place, and who holds the same."""
    places: dict[tuple[str, Any], dict[str, list[int]]] = {}
    for rank, leaves in sorted(given.items()):
        for name, pieces in leaves.items():
            for offsets, _, checksum in pieces:
                place = (name, None if offsets is None else tuple(offsets))
                places.setdefault(place, {}).setdefault(checksum, []).append(rank)
    seen: set[str] = set()
    for (name, _), values in places.items():
        if len(values) > 1 and name not in seen:
            seen.add(name)
            yield name, tuple(sorted(tuple(ranks) for ranks in values.values()))
