"""What may be lost of the units that are pending at a cut: one loss at a time, as masks.

Not covered: how many of them at a time, which is the enumeration's (`faultkit.crash.enumeration.models`).
"""

from __future__ import annotations

import functools
import itertools
import math
import operator

from faultkit.crash.enumeration.units import BLOCK_BYTES, DATA, NAME, TRUNCATE, Unit

__all__ = [
    "Loss",
    "by_piece",
    "by_write",
    "choice_count",
    "ordered_losses",
    "places",
    "stretches",
    "together",
    "weak_choices",
    "weak_losses",
]

VERSIONED_UNITS_MAX = 12  # of one stretch; there are too many versions of more

Loss = tuple[int, int]  # mask of the units lost, mask of those among them that still made their file grow


def stretches(units: list[Unit]) -> list[list[Unit]]:
    """Data units by stretch of un-synced writes, each in order of their pieces."""
    by_stretch: dict[int, list[Unit]] = {}
    for unit in units:
        if unit.kind == DATA:
            by_stretch.setdefault(unit.stretch, []).append(unit)
    return [sorted(some, key=lambda unit: (unit.piece, unit.number)) for some in by_stretch.values()]


def by_piece(units: list[Unit]) -> list[int]:
    masks: dict[int, int] = {}
    for unit in units:
        masks[unit.piece] = masks.get(unit.piece, 0) | unit.bit
    return [masks[piece] for piece in sorted(masks)]


def by_write(units: list[Unit], count_max: int) -> list[int]:
    """The last writes of a stretch, so many of them, each as a mask: what is lost where the first ones are there."""
    masks: dict[int, int] = {}
    for unit in sorted(units, key=lambda unit: unit.number):
        masks[unit.operation] = masks.get(unit.operation, 0) | unit.bit
    lasts = list(itertools.accumulate(reversed(masks.values()), operator.or_))[:-1]
    if len(lasts) <= count_max:
        return lasts
    return [lasts[round(number * (len(lasts) - 1) / max(1, count_max - 1))] for number in range(count_max)]


def weak_losses(pending: list[Unit], writes_max: int) -> list[Loss]:
    losses: list[Loss] = [(unit.bit, 0) for unit in pending if unit.kind in (NAME, TRUNCATE)]
    every = stretches(pending)
    everything = 0
    for units in every:
        pieces = by_piece(units)
        everything |= sum(pieces)
        for place, piece in enumerate(pieces):
            losses.append((sum(pieces[place:]), 0))  # the file ends here
            losses.append((piece, piece))  # it does not, and zeros or old bytes stand here
        if len(pieces) > 1:
            losses.append((sum(pieces), sum(pieces)))
        losses += [(lasts, 0) for lasts in by_write(units, writes_max)]
    if len(every) > 1:
        losses += [(everything, 0), (everything, everything)]
    return list(dict.fromkeys(losses))


def ordered_losses(pending: list[Unit], writes_max: int, versions: bool = False) -> list[list[Loss]]:
    """Lists of which any one loss each is possible together: for each stretch how far it grew or how many of its writes
    are there, and what of it that lies within the file.

    With `versions` all three come together, and a piece that was written several times may be there as any of these
    left it.
    """
    found: list[list[Loss]] = []
    for units in stretches(pending):
        growing = [unit for unit in units if unit.grows]
        within = [unit for unit in units if not unit.grows]
        each = versions and len(units) <= VERSIONED_UNITS_MAX
        of_stretch = [_ends(growing, each)] if growing else []
        of_stretch += [_holes(within, each)] if within else []
        lasts = by_write(units, writes_max)
        if lasts and versions:
            of_stretch.append(lasts)
        elif lasts:
            of_stretch[0] = list(dict.fromkeys(of_stretch[0] + lasts))
        found += [[(loss, 0) for loss in losses] for losses in of_stretch]
    return found


def _ends(units: list[Unit], versions: bool) -> list[int]:
    """What a file lacks that grew up to some piece."""
    pieces = by_piece(units)
    found = [sum(pieces[place:]) for place in range(len(pieces))]
    if versions:
        grouped = _grouped(units)
        for last in range(len(grouped)):
            beyond = sum(pieces[last + 1 :])
            before = [[lost for lost in _newest(one) if _covers(one, lost)] for one in grouped[:last]]
            found += [
                functools.reduce(operator.or_, chosen, beyond)
                for chosen in itertools.product(*before, _newest(grouped[last]))
            ]
    return [loss for loss in dict.fromkeys(found) if loss]


def _holes(units: list[Unit], versions: bool) -> list[int]:
    """What a file lacks of which each piece within it is there or not."""
    choices = [
        [*_newest(one), piece] if versions else [0, piece]
        for one, piece in zip(_grouped(units), by_piece(units), strict=True)
    ]
    return [loss for loss in dict.fromkeys(map(sum, itertools.product(*choices))) if loss]


def _grouped(units: list[Unit]) -> list[list[Unit]]:
    return [list(group) for _, group in itertools.groupby(units, key=lambda unit: unit.piece)]


def _newest(units: list[Unit]) -> list[int]:
    """The newest writes to one piece, none, one, two, and so on, as masks; the oldest is never among them."""
    return [sum(unit.bit for unit in units[place:]) for place in range(len(units), 0, -1)]


def _covers(units: list[Unit], lost: int) -> bool:
    """Whether what is kept has every byte that all of them have."""
    end = -1
    kept = sorted((unit.start, unit.stop) for unit in units if not unit.bit & lost)
    gaps = sorted((unit.start, unit.stop) for unit in units if unit.bit & lost)
    for start, stop in gaps:
        end = start
        for low, high in kept:
            if low <= end:
                end = max(end, high)
        if end < stop:
            return False
    return True


def choice_count(pending: list[Unit]) -> int:
    """At most so many sets `weak_choices` comes to."""
    data = [len(units) for units in stretches(pending)]
    names = sum(1 for unit in pending if unit.kind != DATA)
    return (1 << names) * math.prod((1 << count) * (count + 1) for count in data)


def weak_choices(pending: list[Unit]) -> list[list[Loss]]:
    """Of each name kept or lost; of each stretch any set of its units lost, the file as long as any of them or not."""
    choices: list[list[Loss]] = [[(0, 0), (unit.bit, 0)] for unit in pending if unit.kind != DATA]
    for units in stretches(pending):
        some: list[Loss] = []
        for lost in itertools.chain.from_iterable(
            itertools.combinations(units, count) for count in range(len(units) + 1)
        ):
            mask = sum(unit.bit for unit in lost)
            end = max((unit.stop for unit in units if not unit.bit & mask), default=-1)
            ends = {unit.stop: unit.bit for unit in lost if unit.stop > end}
            some += [(mask, 0), *((mask, bit) for bit in ends.values())]
        choices.append(some)
    return choices


def places(units: list[Unit], count_max: int) -> list[int]:
    """Where a row of writes may be cut by the death of its process: how many units are still written."""
    found = [
        place
        for place in range(1, len(units))
        # the kernel copies a page as a whole before it looks at signals
        if units[place].operation != units[place - 1].operation or units[place].start % BLOCK_BYTES == 0
    ]
    if len(found) <= count_max:
        return found
    return [found[round(number * (len(found) - 1) / max(1, count_max - 1))] for number in range(count_max)]


def together(losses: tuple[Loss, ...]) -> Loss:
    lost = grown = 0
    for more, sized in losses:
        lost |= more
        grown |= sized
    return lost, grown
