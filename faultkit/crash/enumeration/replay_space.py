"""A recording made ready for all models: its units, order, cuts and trees, and what each sync makes durable.

The rules by which a sync persists something are those of `faultkit.crash.enumeration.models`, which says what they do
not cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from faultkit.crash.enumeration.bounds import Bound
from faultkit.crash.enumeration.history import read_history
from faultkit.crash.enumeration.order import Clock, Order
from faultkit.crash.enumeration.trees import Forest
from faultkit.crash.enumeration.units import DATA, NAME, TRUNCATE, History, Unit

if TYPE_CHECKING:
    from faultkit.recording.operations import Recording

__all__ = ["Space"]


class Space:
    """A recording made ready: its units, order, cuts and trees, shared by all models."""

    def __init__(
        self,
        recording: Recording,
        bound: Bound | None = None,
        acknowledged: Sequence[tuple[int, tuple[int, ...], int]] = (),
    ) -> None:
        self.recording = recording
        self.bound = bound or Bound()
        self.history: History = read_history(recording, self.bound.pieces)
        self.order = Order(recording, self.history, rows=self.bound.lost is not None)
        self.forest = Forest(self.history)
        self.cuts, self.every_cut = self.order.cuts(self.bound.cuts)
        self.returned = self.order.returned()
        self.units_of_step = {
            (thread, number): self.history.mask(step)
            for thread, chain in enumerate(self.order.chains)
            for number, step in enumerate(chain)
        }
        self._persisted: dict[tuple[str, int], int] = {}
        self._acknowledged = [
            (step, self.history.mask(made), self.history.mask((self._changing_from(by),)))
            for step, made, by in acknowledged
        ]

    def _changing_from(self, index: int) -> int:
        """The first operation from `index` on that changed something; -1 where there is none."""
        return min((one for one in self.history.of_operation if one >= index), default=-1)

    def acknowledged(self, done: int, lost: int) -> int:
        """The newest step that was acknowledged by what was `done`, of which all is there that it took; 0 for none."""
        applied = done & ~lost
        return max(
            (step for step, made, by in self._acknowledged if not made & ~applied and by & done), default=0
        )

    def done(self, cut: Clock) -> int:
        """Mask of the units that had been issued at `cut`."""
        total = 0
        for thread, count in enumerate(cut):
            for number in range(count):
                total |= self.units_of_step[(thread, number)]
        return total

    def durable(self, model: str, cut: Clock) -> int:
        """Mask of the units that no crash undoes any more."""
        if model == "killed":
            return self.done(cut)
        total = 0
        for step in self.order.steps_in(cut):
            for index in step:
                touch = self.history.touches.get(index)
                if touch is not None and touch.sync:
                    total |= self.persisted_by(model, index)
        return total

    def persisted_by(self, model: str, index: int) -> int:
        """Mask of the units that the sync with this index makes durable under a power model."""
        key = (model, index)
        if key not in self._persisted:
            rule = _persisted_ordered if model == "ordered" else _persisted_weak
            self._persisted[key] = rule(self, index)
        return self._persisted[key]

    def units_in(self, mask: int) -> list[Unit]:
        return [unit for unit in self.history.units if unit.bit & mask]


def _persisted_weak(space: Space, index: int) -> int:
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


def _persisted_ordered(space: Space, index: int) -> int:
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


def _changes_size_or_blocks(space: Space, unit: Unit) -> bool:
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
