"""What may be lost of the units that are pending at a cut: one loss at a time, as masks.

Left out: how many of them at a time, which is the enumeration's (`faultkit.crash.models`).
"""

from __future__ import annotations

import itertools

from faultkit.crash.units import BLOCK_BYTES, DATA, NAME, TRUNCATE, Unit

__all__ = [
    "Loss",
    "by_piece",
    "ordered_losses",
    "places",
    "stretches",
    "together",
    "weak_choices",
    "weak_losses",
]

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


def weak_losses(pending: list[Unit]) -> list[Loss]:
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
    if len(every) > 1:
        losses += [(everything, 0), (everything, everything)]
    return list(dict.fromkeys(losses))


def ordered_losses(pending: list[Unit]) -> list[list[Loss]]:
    """One list for each stretch: which losses of it are possible, one at a time."""
    found: list[list[Loss]] = []
    for units in stretches(pending):
        growing = by_piece([unit for unit in units if unit.grows])
        within = by_piece([unit for unit in units if not unit.grows])
        if growing:
            found.append([(sum(growing[place:]), 0) for place in range(len(growing))])
        if within:
            subsets = itertools.chain.from_iterable(
                itertools.combinations(within, count) for count in range(1, len(within) + 1)
            )
            found.append([(sum(subset), 0) for subset in subsets])
    return found


def weak_choices(pending: list[Unit]) -> list[list[Loss]]:
    """For each unit that may be lost: kept, lost, and of data, lost while the file is as long."""
    choices: list[list[Loss]] = [[(0, 0), (unit.bit, 0)] for unit in pending if unit.kind != DATA]
    for stretch in stretches(pending):
        choices += [[(0, 0), (piece, 0), (piece, piece)] for piece in by_piece(stretch)]
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
