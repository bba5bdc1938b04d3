"""What each rank does in a step of a history: calls the manager's functions, and reads what was loaded.

Not covered: anything that depends on the outcome of other ranks; the process that judges sees them all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from faultkit.history.managers import Manager
from faultkit.history.model import Version
from faultkit.history.state import Part, blank, filled, read

__all__ = ["Came", "RankCall", "prune", "restart", "save"]


class Came(msgspec.Struct, frozen=True):
    """What one rank came back to: what `list` gave, what `load_latest` returned, and what then stood there.

    `listed` and `step` are texts where they are no steps; the text says what they are.  `listed` is None where the
    manager has no `list`.
    """

    listed: tuple[int, ...] | str | None
    step: int | str | None
    parts: dict[str, Part]


class RankCall:
    """A call of one of the functions below.  It says that it is of the module of the manager's functions, which
    a world then imports once for all ranks."""

    def __init__(self, function: Any, manager: Manager) -> None:
        self.__module__ = getattr(manager.save, "__module__", __name__)
        self.__qualname__ = self.__name__ = function.__name__
        self.function, self.manager = function, manager

    def __call__(self, *args: Any) -> Any:
        return self.function(self.manager, *args)


def save(manager: Manager, folder: str, version: Version) -> None:
    """Save the state of `version` through the manager."""
    manager.save(filled(version), version.step, Path(folder))


def prune(manager: Manager, folder: str, keep: int) -> None:
    """Let the manager prune."""
    assert manager.prune is not None
    manager.prune(Path(folder), keep)


def restart(manager: Manager, folder: str) -> Came:
    """List the steps, then load the newest into a blank state.  Raises what `load_latest` raises."""
    import torch.distributed as dist

    listed = _listed(manager, Path(folder))
    dist.barrier()  # what load_latest clears away must not be what another rank still lists
    state = blank()
    step = manager.load_latest(state, Path(folder))
    if step is None:
        return Came(listed, None, {})
    if type(step) is not int:
        return Came(listed, f"a {type(step).__name__}", {})
    return Came(listed, step, read(state))


def _listed(manager: Manager, folder: Path) -> tuple[int, ...] | str | None:
    if manager.list is None:
        return None
    try:
        steps = list(manager.list(folder))
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"[:400]
    odd = [step for step in steps if type(step) is not int]
    return f"gave a {type(odd[0]).__name__} among its steps" if odd else tuple(sorted(steps))
