"""Process groups by name, for each rank: what C++ asks for where a functional collective names its group.

torch keeps such names for each thread (thread isolation), and what it keeps for a thread it keeps for good: half a
kilobyte for every thread that ever had a name.  So a thread of a rank is given names only once it asks for one: for
the name of a group, or the group of a name.  From then on every new thread of the rank gets all of them.

Not covered: a thread that is older than that, and calls an operator of C++ with a name that another thread has asked
for.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from torch.distributed import _functional_collectives, distributed_c10d

from faultkit.worlds.simulated.core.ranks import Rank
from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.core.scheduler import current_task

__all__ = ["ask_for", "inherit", "install"]

_REPLACED = (
    "_register_process_group",
    "_resolve_process_group",
    "_unregister_all_process_groups",
    "_unregister_process_group",
)
_register: Callable[[str, Any], None] = distributed_c10d._register_process_group


class _Thread(threading.local):
    def __init__(self) -> None:
        self.names: set[str] = set()  # that torch knows on this thread


_thread = _Thread()


def install() -> None:
    """Once, in the host."""
    originals = {name: getattr(distributed_c10d, name) for name in _REPLACED}
    replace(distributed_c10d, "_register_process_group", _registering)
    replace(distributed_c10d, "_resolve_process_group", _resolving)
    replace(distributed_c10d, "_unregister_process_group", _unregistering)
    replace(distributed_c10d, "_unregister_all_process_groups", _unregistering_all)
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("torch"):
            for name, original in originals.items():
                if vars(module).get(name) is original:  # taken by name
                    setattr(module, name, getattr(distributed_c10d, name))
    replace(_functional_collectives, "_resolve_group_name", _naming)


def ask_for(group: Any, name: str) -> None:
    """The calling thread wants the name of a group of its rank."""
    task = current_task()
    if task is not None and name and name not in _thread.names:
        _thread.names.add(name)
        task.rank.has_named_groups = True
        _register(name, group)


def inherit(rank: Rank) -> None:
    """The calling thread is a new one of the rank."""
    if rank.has_named_groups:
        for group, name in rank.world.pg_names.items():
            ask_for(group, name)


def _registering(original: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    def register(name: str, group: Any) -> None:
        if current_task() is None:  # else the rank's world has the name
            original(name, group)

    return register


def _resolving(original: Callable[[str], Any]) -> Callable[[str], Any]:
    def resolve(name: str) -> Any:
        task = current_task()
        for group, own in task.rank.world.pg_names.items() if task is not None else ():
            if own == name:
                ask_for(group, name)
                return group
        return original(name)

    return resolve


def _naming(original: Callable[..., str]) -> Callable[..., str]:
    def name_of(*args: Any, **kwargs: Any) -> str:
        name = original(*args, **kwargs)
        if current_task() is not None:
            distributed_c10d._resolve_process_group(name)
        return name

    return name_of


def _unregistering(original: Callable[[str], None]) -> Callable[[str], None]:
    def unregister(name: str) -> None:
        if current_task() is None or name in _thread.names:
            _thread.names.discard(name)
            original(name)

    return unregister


def _unregistering_all(original: Callable[[], None]) -> Callable[[], None]:
    def unregister_all() -> None:
        if current_task() is None or _thread.names:
            _thread.names.clear()
            original()

    return unregister_all
