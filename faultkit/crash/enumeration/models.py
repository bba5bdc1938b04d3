"""What a crash may undo: models, each a contract, and the states of a recording under each.

killed: processes die, the machine goes on.
    Covers every consistent cut (`faultkit.crash.enumeration.order`), and a write cut short at a block boundary, one
    thread at a time.  What was written before the cut is all there: the page cache survives.
    Not covered: writes through a memory map, buffers of other programs, a machine that dies.
ordered: the power goes; one journal (ext4 with data=ordered, xfs).
    Changes of names and truncations persist in the order in which they were made, as a prefix.  Data is written
    later than its write (delayed allocation): the un-synced data of a file is there up to some piece, and the
    file is as long as that, or the first so many of its writes are there; a rename or truncation before does not
    hurry it (auto_da_alloc is not relied upon).
    Data over bytes that the file had may be there or not, piece by piece, and before earlier changes of names: it
    has its blocks, and only new ones join a transaction (ext4_map_blocks in fs/ext4/inode.c calls
    ext4_jbd2_inode_add_write for EXT4_MAP_NEW alone).  fsync of a file or directory persists the data of that file,
    and all changes of names up to the last change of that file; fdatasync up to its last change of size or blocks.
    Not covered: data=journal and data=writeback, a disk that lies about its cache, extents that xfs completes
    out of order (zeros within a file), several file systems.
weak: the power goes; only fsync orders anything (POSIX as ALICE reads it: Pillai et al., OSDI 2014).
    Any subset of what was not synced is there, in any order: each change of a name on its own, each truncation,
    each piece of data, with the file shorter, or as long as it was with zeros in the place of what is lost.
    fsync of a file persists its data and size, not its name; fsync of a directory persists the changes of names
    in it made before.  A rename is there or not, as a whole.
    Not covered: other content than old or zeros where data was lost, damage to what was synced.

Each is part of the next within every bound: the states of the stricter one are enumerated again where need be.

States can change only between points that persist something, so subsets are made of what is pending at a cut
and two cuts that leave the same are one.  `Bound` says how many losses at a time.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from faultkit.crash.enumeration.bounds import Bound
from faultkit.crash.enumeration.crash_model import MODELS, crash_model
from faultkit.crash.enumeration.losses import (
    Loss,
    choice_count,
    ordered_losses,
    stretches,
    together,
    weak_choices,
    weak_losses,
)
from faultkit.crash.enumeration.points import Point, begun, frontiers, journal_behind
from faultkit.crash.enumeration.replay_space import ReplaySpace
from faultkit.crash.enumeration.state import State, Witness
from faultkit.crash.enumeration.units import NAME, TRUNCATE
from faultkit.crash.enumeration.witnesses import make_witness, masks_of
from faultkit.messages import require_type

if TYPE_CHECKING:
    from faultkit.recording.operations import Recording

__all__ = ["ENUMERATED", "MODELS", "Enumeration", "rebuild", "states"]

STATES_BETWEEN_CLOCKS = 64

Row = tuple[
    int, int, int, int
]  # masks of what was done, of it lost, of that still growing its file; number of losses


class Enumeration:
    """The distinct states of one model, fewest losses first.  Iterate once; the counts are right afterwards.

    A tree comes again where its phase is stricter, or more had been acknowledged.

    explored: states enumerated.  distinct: different trees.  complete: whether all within the bound came.
    words: the bound, with what it came to on this recording.
    """

    def __init__(
        self, space: ReplaySpace, model: str, *, seed: int = 0, budget_seconds: float | None = None
    ) -> None:
        crash_model(model)
        self.space = space
        self.model = model
        self.explored = 0
        self.distinct = 0
        self.complete = False
        self.words = ""
        self._deadline = math.inf if budget_seconds is None else time.monotonic() + budget_seconds
        self._seed = seed
        self._required = space.durable(model, space.returned)  # what is there once save has returned
        self._returned_done = space.done(space.returned)

    def __iter__(self) -> Iterator[State]:
        known: dict[tuple[int | str, ...], tuple[str, int]] = {}
        seen_masks: set[tuple[int, int]] = set()
        forest = self.space.forest
        for done, lost, grown, loss_count in self._all():
            self.explored += 1
            if self.explored % STATES_BETWEEN_CLOCKS == 0 and time.monotonic() > self._deadline:
                return
            if forest.content_bytes > self.space.bound.content_bytes:
                self.words += f", ended at {forest.content_bytes >> 20} MiB of contents"
                return
            applied = done & ~lost
            if (applied, grown) in seen_masks:
                continue
            seen_masks.add((applied, grown))
            parts = forest.parts(applied, grown)
            identity = forest.identity(parts)
            phase = "returned" if not self._required & ~applied else "during"
            acknowledged = self.space.acknowledged(done, lost)
            before = known.get(identity)
            if before is not None and before[0] in ("returned", phase) and before[1] >= acknowledged:
                continue
            known[identity] = (phase, acknowledged)
            if before is None:
                self.distinct += 1
            yield forest.state(parts, self.witness(done, lost, grown, phase, loss_count))
        self.complete = True

    def witness(self, done: int, lost: int, grown: int, phase: str, loss_count: int) -> Witness:
        if phase == "returned":
            lost |= self._returned_done & ~done
            done |= self._returned_done
        return make_witness(self.space, self.model, done, lost, grown, phase)

    def _all(self) -> Iterator[Row]:
        return ENUMERATED[self.model](self)

    # Each yields (done, lost, grown, number of losses).

    def _killed(self) -> Iterator[Row]:
        space = self.space
        cuts = f"all {len(space.cuts)} cuts" if space.every_cut else f"{len(space.cuts)} pairwise cuts"
        self.words = (
            f"{cuts}, one write at a time cut in {space.bound.pieces} pieces, "
            f"a row of writes at up to {space.bound.places} places"
        )
        for cut in space.cuts:
            yield space.done(cut), 0, 0, 0
        yield from self._begun()

    def _begun(self) -> Iterator[Row]:
        for point in begun(self.space):
            yield point.done, point.gone, 0, 1

    def _ordered(self) -> Iterator[Row]:
        space, bound = self.space, self.space.bound
        behind, behind_count = journal_behind(space)
        exhaustive = bound.lost is None
        writes_max = bound.places if exhaustive else bound.pieces
        points = [
            (point, ordered_losses(space.units_in(point.pending), writes_max, versions=exhaustive))
            for point in frontiers(space, "ordered") + behind
        ]
        products = [math.prod(1 + len(losses) for losses in groups) for _, groups in points]
        whole = sum(products) <= (bound.subsets * len(products) if exhaustive else bound.states)
        lost = 2 if bound.lost is None else bound.lost
        count_max = math.inf if whole else lost
        cuts = f"{len(points)} points of {'all' if space.every_cut else 'pairwise'} cuts"
        if len(behind) < behind_count:
            cuts += f" (the journal behind at {len(behind)} of {behind_count})"
        how = (
            "every set of un-synced data" if whole else f"un-synced data of {lost} files at a time, or of all"
        )
        self.words = f"{cuts}, {how} in {bound.pieces} pieces"
        longest = max((len(groups) for _, groups in points), default=0)
        for count in range(longest + 1):
            if count > count_max:
                break
            for point, groups in points:
                for chosen in itertools.combinations(groups, count):
                    for losses in itertools.product(*chosen):
                        yield point.done, point.gone | together(losses)[0], 0, count
            if count == 0:
                yield from self._begun()
        if not whole:  # and all of it lost at once, as when the power goes before anything was written back
            for point, groups in points:
                yield point.done, point.gone | together(tuple(one[0] for one in groups))[0], 0, len(groups)

    def _weak(self) -> Iterator[Row]:
        bound = self.space.bound
        points = frontiers(self.space, "weak")
        lost = 2 if bound.lost is None else bound.lost
        too_many = ""
        if bound.lost is None:
            widest = self._widest(points)
            most = max((choice_count(self.space.units_in(point.pending)) for point in widest), default=1)
            if most <= bound.subsets:
                yield from self._weak_exhaustive(widest)
                return
            too_many = f"not every one of {most} subsets, but "
        choices = [
            (point.done, weak_losses(self.space.units_in(point.pending), bound.pieces)) for point in points
        ]
        while lost > 1 and self._estimate(choices, lost) > bound.states:
            lost -= 1
        yield from self._ordered()  # whose states are some of these
        cuts = f"{len(points)} points of {'all' if self.space.every_cut else 'pairwise'} cuts"
        self.words = (
            f"{too_many}{cuts}, up to {lost} lost or all but {bound.kept} lost, un-synced data of a file in "
            f"{bound.pieces} pieces, and what is ordered"
        )
        for count in range(lost + 1):
            if count == 2:  # where time runs out, what was seen of these is spread over all points
                random.Random(self._seed).shuffle(choices)
            for done, losses in choices:
                for chosen in itertools.combinations(losses, count):
                    yield done, *together(chosen), count
        yield from self._weak_kept(points)

    @staticmethod
    def _estimate(points: list[tuple[int, list[Loss]]], lost: int) -> int:
        return sum(math.comb(len(losses), count) for _, losses in points for count in range(lost + 1))

    @staticmethod
    def _widest(points: list[Point]) -> list[Point]:
        """Of each sync frontier all that can have been done while just this was durable."""
        widest: dict[int, int] = {}
        for point in points:
            widest[point.durable] = widest.get(point.durable, 0) | point.done
        return [Point(done, durable) for durable, done in widest.items()]

    def _weak_kept(self, points: list[Point]) -> Iterator[Row]:
        for point in self._widest(points):
            pending = self.space.units_in(point.pending)
            keepers = [unit.bit for unit in pending if unit.kind in (NAME, TRUNCATE)]
            keepers += [sum(unit.bit for unit in units) for units in stretches(pending)]
            for count in range(self.space.bound.kept + 1):
                for kept in itertools.combinations(keepers, count):
                    yield point.done, point.pending & ~sum(kept), 0, len(keepers) - count

    def _weak_exhaustive(self, points: list[Point]) -> Iterator[Row]:
        self.words = (
            f"every subset at {len(points)} sync frontiers, un-synced data of a file in "
            f"{self.space.bound.pieces} pieces"
        )
        for point in points:
            for losses in itertools.product(*weak_choices(self.space.units_in(point.pending))):
                yield point.done, *together(losses), sum(1 for loss, _ in losses if loss)


ENUMERATED: dict[str, Callable[[Enumeration], Iterator[Row]]] = {
    "killed": Enumeration._killed,
    "ordered": Enumeration._ordered,
    "weak": Enumeration._weak,
}


def states(
    recording: Recording,
    model: str,
    bound: Bound | None = None,
    *,
    seed: int = 0,
    budget_seconds: float | None = None,
) -> Iterator[State]:
    """The distinct states of a model, fewest losses first; a tree comes again where its phase is stricter.

    Args:
        recording: what `record_save` or `faultkit.recording.record` gave.
        model: one of `MODELS`.
        bound: how many losses at a time, and how many states; None for the default of `Bound`.
        seed: the order in which larger losses come.
        budget_seconds: after which it ends; None for no limit.

    Returns:
        An iterator, which ends when all within the bound are through, or the time is over (`Enumeration` tells which).

    Raises:
        ValueError: the model is not known.
        TypeError: `recording` is none, or `bound` is none.
    """
    _require_recording("states", recording)
    require_type("states", "bound", bound, (Bound, type(None)), "a faultkit.crash.Bound or None")
    return iter(Enumeration(ReplaySpace(recording, bound), model, seed=seed, budget_seconds=budget_seconds))


def rebuild(recording: Recording, witness: Witness) -> State:
    """The state of a witness again.

    Raises ValueError where it does not fit the recording, TypeError for what is neither.
    """
    _require_recording("rebuild", recording)
    require_type("rebuild", "witness", witness, Witness, "a faultkit.crash.Witness, as a State has it")
    space = ReplaySpace(recording, Bound(pieces=witness.pieces))
    done, lost, grown = masks_of(space, witness)
    return space.forest.state(space.forest.parts(done & ~lost, grown), witness)


def _require_recording(function: str, recording: object) -> None:
    from faultkit.recording.operations import Recording

    what = "a faultkit.recording.Recording, as record_save gives it"
    require_type(function, "recording", recording, Recording, what)
