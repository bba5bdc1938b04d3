"""A recording made ready for all models: its units, order, cuts and trees, and what each sync makes durable.

Not covered: the rules by which a sync persists something, which are each model's own
(`faultkit.crash.enumeration.crash_model`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from faultkit.crash.enumeration.bounds import Bound
from faultkit.crash.enumeration.crash_model import crash_model
from faultkit.crash.enumeration.history import read_history
from faultkit.crash.enumeration.order import Clock, Order
from faultkit.crash.enumeration.trees import TreeBuilder
from faultkit.crash.enumeration.units import History, Unit

if TYPE_CHECKING:
    from faultkit.recording.operations import Recording

__all__ = ["ReplaySpace"]


class ReplaySpace:
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
        self.forest = TreeBuilder(self.history)
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
        if not crash_model(model).is_power_cut:
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
            rule = crash_model(model).persisted_by
            self._persisted[key] = 0 if rule is None else rule(self, index)
        return self._persisted[key]

    def units_in(self, mask: int) -> list[Unit]:
        return [unit for unit in self.history.units if unit.bit & mask]
