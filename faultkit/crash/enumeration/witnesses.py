"""Masks of units as a witness that can be kept, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from faultkit.crash.enumeration.replay_space import ReplaySpace
from faultkit.crash.enumeration.state import Witness
from faultkit.crash.enumeration.units import DATA, Unit

__all__ = ["make_witness", "masks_of"]


def make_witness(space: ReplaySpace, model: str, done: int, lost: int, grown: int, phase: str) -> Witness:
    """The witness of masks; operations that changed nothing are left out of `done`."""
    units = space.history.units
    gone = [unit for unit in units if unit.bit & lost]
    return Witness(
        model=model,
        done=tuple(dict.fromkeys(unit.operation for unit in units if unit.bit & done)),
        lost=tuple(_name(unit) for unit in gone),
        grown=tuple(_name(unit) for unit in gone if unit.bit & grown),
        phase=phase,
        loss_count=len({(unit.kind, unit.stretch if unit.kind == DATA else unit.number) for unit in gone}),
        pieces=space.bound.pieces,
        acknowledged=space.acknowledged(done, lost),
    )


def masks_of(space: ReplaySpace, witness: Witness) -> tuple[int, int, int]:
    """(done, lost, grown) of a witness.  Raises ValueError where it does not fit the recording."""
    by_name = {_name(unit): unit.bit for unit in space.history.units}

    def mask(bits: dict[Any, int], names: Iterable[Any]) -> int:
        total = 0
        for name in names:
            if name not in bits:
                raise ValueError(f"the witness does not fit the recording, which has no {name!r}")
            total |= bits[name]
        return total

    return (
        mask(space.history.of_operation, witness.done),
        mask(by_name, map(tuple, witness.lost)),
        mask(by_name, map(tuple, witness.grown)),
    )


def _name(unit: Unit) -> tuple[int, int, int]:
    if unit.kind == DATA:
        return (unit.operation, unit.start, unit.stop)
    return (unit.operation, 0, 0)
