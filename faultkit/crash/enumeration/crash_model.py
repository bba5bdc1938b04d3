"""`CrashModel`: all that anybody asks of a model besides its states, and the table of the models.

Guarantees: which models there are, from the strictest on, each part of the next; what a sync persists under each, and
what its crash is called.  Nothing else compares with the name of one.  Not covered: the contracts in words, and the
states that follow (`faultkit.crash.enumeration.models`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from faultkit.crash.enumeration.units import DATA, NAME, TRUNCATE, Unit
from faultkit.messages import listed, nearest, seen

if TYPE_CHECKING:
    from faultkit.crash.enumeration.replay_space import ReplaySpace

__all__ = ["MODELS", "CrashModel", "crash_model"]


class CrashModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the table.

    `persisted_by` gives the mask of the units that the sync with an index makes durable; None where the machine goes
    on, so that all that was done stays.  `keeps_order`: what is there of the names is a prefix of their changes, and
    what is there of a file that grew ends at some piece.
    """

    name: str
    persisted_by: Callable[[ReplaySpace, int], int] | None
    keeps_order: bool = False

    @property
    def is_power_cut(self) -> bool:
        return self.persisted_by is not None

    @property
    def crash(self) -> str:
        """As a finding names the crash."""
        return "power cut" if self.is_power_cut else "killed"


def _by_itself(space: ReplaySpace, index: int) -> int:
    touch = space.history.touches[index]
    total = 0
    for unit in space.history.units:
        if not space.order.before(unit.operation, index):
            continue
        if touch.sync == "all":
            concerned = True
        elif touch.sync == "directory":
            concerned = unit.kind == NAME and touch.inode in _directories(unit)
        else:
            concerned = unit.kind != NAME and unit.inode == touch.inode
        if concerned:
            total |= unit.bit
    return total


def _by_the_journal(space: ReplaySpace, index: int) -> int:
    touch = space.history.touches[index]
    before = [unit for unit in space.history.units if space.order.before(unit.operation, index)]
    if touch.sync == "all":
        return sum(unit.bit for unit in before)
    own = [
        unit
        for unit in before
        if unit.inode == touch.inode or (unit.kind == NAME and touch.inode in _directories(unit))
    ]
    if (
        touch.sync == "data"
    ):  # no transaction is waited for unless the size or the blocks of the file changed in it
        forcing = [unit.operation for unit in own if _changes_size_or_blocks(space, unit)]
    else:
        forcing = [unit.operation for unit in own]
    last = max(forcing, default=-1)
    total = 0
    for unit in before:
        own_data = unit.kind == DATA and unit.inode == touch.inode
        journaled = unit.kind != DATA and last >= 0 and space.order.before(unit.operation, last)
        if own_data or journaled:
            total |= unit.bit
    return total


def _changes_size_or_blocks(space: ReplaySpace, unit: Unit) -> bool:
    """Whether fdatasync waits for the journal because of it.

    ext4 waits for the transaction in `i_datasync_tid` (ext4_sync_file in fs/ext4/fsync.c), which is set where the inode
    is made, its size changes or blocks are mapped (ext4_update_inode_fsync_trans), and not by a rename or a time; xfs
    where more than the timestamps is logged (xfs_fsync_seq in fs/xfs/xfs_file.c).
    """
    if unit.kind == NAME:
        return space.order.operations[unit.operation].kind == "open"
    return unit.kind == TRUNCATE or not unit.placed


def _directories(unit: Unit) -> set[int]:
    return {key[0] for key, _ in unit.sets} | {key[0] for key in unit.removes}


_MODELS: dict[str, CrashModel] = {
    model.name: model
    for model in (
        CrashModel(name="killed", persisted_by=None),
        CrashModel(name="ordered", persisted_by=_by_the_journal, keeps_order=True),
        CrashModel(name="weak", persisted_by=_by_itself),
    )
}
MODELS: tuple[str, ...] = tuple(_MODELS)


def crash_model(name: str) -> CrashModel:
    """The model of that name.  Raises ValueError, with the nearest name there is."""
    if name not in _MODELS:
        raise ValueError(
            f"a crash model must be one of {listed(MODELS)} (got {seen(name)}){nearest(name, MODELS)}"
        )
    return _MODELS[name]
