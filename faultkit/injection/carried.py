"""What a faulty storage object carries, and whether an object is one: asked of what the engine is given.

Not covered: the objects themselves (`faultkit.injection.storage`), which a rank loads when somebody makes one.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from faultkit.injection.session import Session
from faultkit.injection.session_parts.armed import current
from faultkit.plan import FaultPlan

__all__ = ["OWN", "Carried", "carried"]

OWN = "_faultkit"


class Carried:
    """What a faulty object carries: its plan, what it stands for, and its own session."""

    def __init__(self, plan: FaultPlan, inner: Any, metadata: Any) -> None:
        self.plan = plan
        self.inner = inner
        self.metadata = metadata
        self.session = Session(plan)
        self.armed: Session | None = None

    def session_now(self) -> Session:
        armed = current()
        if armed is not None and armed.plan == self.plan:
            self.armed = armed
            return armed
        if self.plan and dist.is_available() and dist.is_initialized():
            self.session.rank, self.session.world_size = dist.get_rank(), dist.get_world_size()
        return self.session

    def learn_coordinator(self, is_coordinator: Any) -> None:
        own = self.session
        if isinstance(is_coordinator, bool):
            # Which other rank coordinates cannot be told; that it is another one is all that matters.
            own.coordinator = own.rank if is_coordinator else int(own.rank == 0)


def carried(storage: Any) -> Carried | None:
    """What `storage` carries where it is a faulty object, else None."""
    is_faulty = getattr(type(storage), "__faultkit_own__", False)
    return object.__getattribute__(storage, "__dict__").get(OWN) if is_faulty else None
