"""The state that the tests of injection save, and the bookkeeping of an armed run."""

from __future__ import annotations

import torch

from faultkit.injection import arm

__all__ = ["Armed", "Counter", "new_state"]


class Counter:
    """A stateful element, whose state is one tensor."""

    def __init__(self, value=0.0):
        self.value = torch.full((3,), value)

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state_dict):
        self.value = state_dict["value"]


def new_state(value=1.0):
    return {"weight": torch.full((4, 4), value), "nested": {"step": int(value)}, "counter": Counter(value)}


class Armed:
    """Runs a function while armed and keeps what was recorded: `events` as (kind, data), and `error`."""

    def __init__(self):
        self.events, self.error, self.session, self.value = [], None, None, None

    def run(self, plan, function, rank=0, world_size=1):
        self.events, self.error, self.value = [], None, None
        record = lambda kind, data: self.events.append((kind, data))  # noqa: E731
        try:
            with arm(plan, rank=rank, world_size=world_size, record=record) as self.session:
                self.value = function()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and "injected" not in str(error):
                raise
            self.error = error
        return self

    def of(self, kind):
        return [data for event, data in self.events if event == kind]

    @property
    def fired(self):
        return [(data["point"], data["moment"], data["call"], data["step"]) for data in self.of("fired")]
