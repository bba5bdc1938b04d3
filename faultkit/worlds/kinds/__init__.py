"""The kinds of worlds, by name: one file each behind one protocol (`faultkit.worlds.kinds.world_kind`)."""

from __future__ import annotations

from faultkit.worlds.kinds.auto import Auto
from faultkit.worlds.kinds.fresh import Fresh
from faultkit.worlds.kinds.simulated import Simulated
from faultkit.worlds.kinds.spawn import Spawn
from faultkit.worlds.kinds.warm import Warm
from faultkit.worlds.kinds.world_kind import RunOrder, WorldKind, WorldSpec

__all__ = ["KINDS", "RunOrder", "WorldKind", "WorldSpec"]

KINDS: dict[str, type[WorldKind]] = {kind.name: kind for kind in (Warm, Fresh, Spawn, Simulated, Auto)}
