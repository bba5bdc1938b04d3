"""The moments of a recording at which a crash is explored: `Point`, and which there are.

`frontiers` are the cuts; `begun` are those within a row of writes of one thread; `journal_behind` are those of a file
system with one journal where data that has its place on the disk went ahead of it.  Not covered: what of the data that
is pending at a point may be lost besides (`faultkit.crash.enumeration.losses`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from faultkit.crash.enumeration.losses import places
from faultkit.crash.enumeration.replay_space import ReplaySpace
from faultkit.crash.enumeration.units import DATA, Unit

__all__ = ["Point", "begun", "frontiers", "journal_behind"]


class Point(NamedTuple):
    """Masks of units: `done` had been issued, `durable` no crash undoes, `gone` of those done are not there."""

    done: int
    durable: int
    gone: int = 0

    @property
    def pending(self) -> int:
        return self.done & ~self.durable & ~self.gone


def frontiers(space: ReplaySpace, model: str) -> list[Point]:
    """Each cut, latest first; cuts that leave the same are one.

    Latest first: a tree that save may leave behind when it has returned then comes with what was lost since.
    """
    points = [Point(space.done(cut), space.durable(model, cut)) for cut in reversed(space.cuts)]
    return list(dict.fromkeys(points))


def begun(space: ReplaySpace) -> Iterator[Point]:
    """At each cut each row of writes that may come next, as far as each place where it may be cut."""
    rests: dict[int, list[int]] = {}  # a step -> what is not there yet at each place
    for cut in space.cuts:
        done = space.done(cut)
        for thread, _ in space.order.next_steps(cut):
            step = space.units_of_step[(thread, cut[thread])]
            if step not in rests:
                units = [unit for unit in space.units_in(step) if unit.kind == DATA]
                found = places(units, space.bound.places)
                rests[step] = [sum(unit.bit for unit in units[place:]) for place in found]
            for rest in rests[step]:
                yield Point(done | step, done, rest)


def journal_behind(space: ReplaySpace) -> tuple[list[Point], int]:
    """(points, how many there are without the bound): two cuts, the journal having come to the earlier one only.

    Of what is between them data that is `placed` may be there all the same, and nothing else.
    """
    placed = sum(unit.bit for unit in space.history.units if unit.placed)
    if not placed:
        return [], 0
    under = _under(space)
    free = placed & ~sum(under)
    cuts = [(cut, space.done(cut), space.durable("ordered", cut)) for cut in space.cuts]
    found: dict[tuple[int, int], Point] = {}
    for later, done, durable in cuts:
        if not done & placed:
            continue
        for earlier, kept, _ in cuts:
            early = free & done & ~kept
            early |= sum(bit for bit in under if bit & done & ~kept and not under[bit] & ~kept)
            gone = done & ~kept & ~early
            if not early or not gone or durable & gone:
                continue
            if all(one <= other for one, other in zip(earlier, later, strict=True)):
                found.setdefault((done & ~gone, durable), Point(done, durable, gone))
    points = list(found.values())
    most = space.bound.cuts
    if len(points) > most:
        return [points[number * len(points) // most] for number in range(most)], len(points)
    return points, len(points)


def _under(space: ReplaySpace) -> dict[int, int]:
    """Of each placed unit the writes by which its bytes came to be there, where they are not from before the recording:
    what goes ahead of the journal goes over these.
    """
    found: dict[int, int] = {}
    first: dict[int, list[Unit]] = {}
    for unit in space.history.units:
        if unit.kind != DATA:
            continue
        if not unit.placed:
            first.setdefault(unit.inode, []).append(unit)
            continue
        mask = sum(
            one.bit for one in first.get(unit.inode, ()) if one.start < unit.stop and unit.start < one.stop
        )
        if mask:
            found[unit.bit] = mask
    return found
