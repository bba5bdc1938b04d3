"""Process groups by name, for each rank: what C++ asks for where a functional collective names its group.

torch keeps such names for a process; the host has one of each, and its ranks name their groups alike.  A rank's names
are known to torch while the rank runs, and only those that one of its threads has asked for: for the name of a group,
or the group of a name.  (torch could keep them for each thread, but what it keeps for a thread it keeps for good: half
a kilobyte for every thread that ever had a name.)

Not covered: the works of functional collectives under way, which torch keeps for each thread, and as long.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from torch.distributed import _functional_collectives, distributed_c10d

from faultkit.worlds.simulated.core.rebinding import loaded_now, replace
from faultkit.worlds.simulated.core.scheduler import current_task

__all__ = ["ask_for", "enter", "in_force", "install", "who_has_them"]

_REPLACED = (
    "_register_process_group",
    "_resolve_process_group",
    "_unregister_all_process_groups",
    "_unregister_process_group",
)
_register: Callable[[str, Any], None] = distributed_c10d._register_process_group
_unregister: Callable[[str], None] = distributed_c10d._unregister_process_group

in_force: dict[str, Any] = {}  # the groups that torch knows by name now: those of one rank


_holders: tuple[object, tuple[tuple[Any, str], ...]] = None, ()


def who_has_them() -> tuple[tuple[Any, str], ...]:
    """The modules of torch that have taken by name what is replaced; looked for anew where modules have come."""
    global _holders
    if _holders[0] != (now := loaded_now()):
        originals = {name: getattr(distributed_c10d, name) for name in _REPLACED}
        _holders = (
            now,
            tuple(
                (module, name)
                for module in list(sys.modules.values())
                if getattr(module, "__name__", "").startswith("torch")
                for name, original in originals.items()
                if vars(module).get(name) is original
            ),
        )
    return _holders[1]


def install() -> None:
    """Once, in the host."""
    holders = who_has_them()
    replace(distributed_c10d, "_register_process_group", _registering)
    replace(distributed_c10d, "_resolve_process_group", _resolving)
    replace(distributed_c10d, "_unregister_process_group", _unregistering)
    replace(distributed_c10d, "_unregister_all_process_groups", _unregistering_all)
    for module, name in holders:
        setattr(module, name, getattr(distributed_c10d, name))
    replace(_functional_collectives, "_resolve_group_name", _naming)


def ask_for(group: Any, name: str) -> None:
    """The calling thread wants the name of a group of its rank."""
    task = current_task()
    if task is not None and name and name not in task.rank.named_groups:
        task.rank.named_groups[name] = group
        _register(name, group)


def enter(named_groups: dict[str, Any]) -> None:
    """From now on torch knows these, which are those of the rank that runs, and no others."""
    global in_force
    for name in in_force:
        _unregister(name)
    in_force = named_groups
    for name, group in named_groups.items():
        _register(name, group)


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
        task = current_task()
        if task is None or task.rank.named_groups.pop(name, None) is not None:
            original(name)

    return unregister


def _unregistering_all(original: Callable[[], None]) -> Callable[[], None]:
    def unregister_all() -> None:
        task = current_task()
        if task is not None:
            task.rank.named_groups.clear()
        original()

    return unregister_all
