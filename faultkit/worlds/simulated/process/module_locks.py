"""Locks, conditions, events, semaphores, barriers and queues that stand in modules: each rank has its own.

A process has its own copy of everything that a module keeps.  Ranks share their modules, but a lock that one holds
must not keep another from its part of a collective, and a real one, made before the simulation began, would keep the
whole host.  `divide` finds such objects in modules of the user's: in their globals, in dicts and lists there, in their
classes, and in objects of these classes.  A lock is replaced; anything else keeps its identity, and shows each rank a
state of its own, which starts as what the module made.

Not covered: objects kept in closures, default arguments and installed packages, and what else modules keep.
"""

from __future__ import annotations

import _thread
import collections
import queue
import sys
import threading
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from faultkit.worlds.simulated.core.primitives import SimulatedLock, SimulatedRLock, copy_of
from faultkit.worlds.simulated.core.ranks import Rank, current_rank
from faultkit.worlds.simulated.core.rebinding import is_of_user

__all__ = ["divide"]

_PLAIN = (_thread.LockType, SimulatedLock)
_REENTRANT = (_thread.RLock, SimulatedRLock)
_LOCKS = _PLAIN + _REENTRANT
_COMPOUND = (threading.Condition, threading.Event, threading.Semaphore, threading.Barrier, queue.Queue)
_SimpleQueue, _PySimpleQueue = queue.SimpleQueue, queue._PySimpleQueue  # type: ignore[attr-defined]
ENTRIES_MAX = 1_000  # of a dict or a list: one with more is data

_proxies: dict[int, tuple[Any, _LockOfRanks]] = {}  # by the identity of the original, which is kept with it


def divide(modules: Iterable[ModuleType]) -> None:
    """Give each rank its own of what stands in those of `modules` that are the user's."""
    seen: set[int] = set()
    for module in modules:
        if is_of_user(module):
            for name, value in list(vars(module).items()):
                if not name.startswith("__") and (new := _divided(value, module.__name__, seen)) is not value:
                    setattr(module, name, new)


def _divided(value: Any, module: str, seen: set[int]) -> Any:
    """What must stand in the place of `value`; what it holds is divided, too."""
    kind = type(value)
    if kind in _LOCKS:
        if id(value) not in _proxies:
            _proxies[id(value)] = value, _LockOfRanks(value)
        return _proxies[id(value)][1]
    if id(value) in seen or kind in (str, int, float, bytes, bool, ModuleType):
        return value
    seen.add(id(value))
    if kind is _SimpleQueue:
        return _shown_to_each(_in_python(value))
    if isinstance(value, (*_COMPOUND, _PySimpleQueue)):
        return value if hasattr(kind, "_faultkit_original") else _shown_to_each(value)
    if kind is dict and len(value) <= ENTRIES_MAX:
        for key, entry in list(value.items()):
            if (new := _divided(entry, module, seen)) is not entry:
                value[key] = new
    elif kind is list and len(value) <= ENTRIES_MAX:
        value[:] = [_divided(entry, module, seen) for entry in value]
    elif isinstance(value, type) and value.__module__ == module:
        for name, entry in list(vars(value).items()):
            if not name.startswith("__") and (new := _divided(entry, module, seen)) is not entry:
                setattr(value, name, new)
    elif (of_kind := sys.modules.get(kind.__module__)) is not None and is_of_user(of_kind):
        _divided(getattr(value, "__dict__", None), module, seen)
    return value


class _LockOfRanks:
    """A lock or reentrant lock: that of the rank that asks, the original for any other thread."""

    __slots__ = ("__weakref__", "_original")

    def __init__(self, original: Any) -> None:
        self._original = original

    def _own(self) -> Any:
        rank = current_rank()
        return self._original if rank is None else _of_rank(rank, self._original)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        return bool(self._own().acquire(blocking, timeout))

    def release(self) -> None:
        self._own().release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own(), name)

    def __reduce__(self) -> Any:
        kind = "lock" if type(self._original) in _PLAIN else "RLock"
        raise TypeError(f"cannot pickle '_thread.{kind}' object")


def _in_python(original: Any) -> Any:
    """A queue with the same entries that is made of Python's locks, and so can be copied."""
    simple = _PySimpleQueue()
    while not original.empty():
        simple.put(original.get_nowait())
    return simple


def _shown_to_each(thing: Any) -> Any:
    """Let every attribute of `thing` be that of a copy that the rank has which asks."""
    kind = type(thing)
    original = object.__new__(kind)
    vars(original).update(vars(thing))
    names: dict[str, Any] = {name: _of_copy(original, name) for name in vars(thing)}
    own = type(
        kind.__name__, (kind,), {**names, "_faultkit_original": original, "__module__": kind.__module__}
    )
    thing.__class__ = own
    return thing


def _of_copy(original: Any, name: str) -> property:
    def of_whom() -> Any:
        rank = current_rank()
        return vars(original if rank is None else _of_rank(rank, original))

    def read(_: Any) -> Any:
        return of_whom()[name]

    def write(_: Any, value: Any) -> None:
        of_whom()[name] = value

    return property(read, write)


def _of_rank(rank: Rank, value: Any) -> Any:
    """The rank's own of what the module made: copied when the rank first asks."""
    kind = type(value)
    if kind is _LockOfRanks:
        value = value._original
        kind = type(value)
    if kind in (collections.deque, list, dict, set):
        return kind(value)
    if kind not in _LOCKS and not isinstance(value, (*_COMPOUND, _PySimpleQueue)):
        return value
    found = rank.own_objects.get(id(value))
    if found is None:
        found = rank.own_objects[id(value)] = _copied(rank, value)
    return found


def _copied(rank: Rank, value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return copy_of(value)
    if kind in _REENTRANT:
        return SimulatedRLock()
    if isinstance(value, threading.Condition):
        return threading.Condition(_of_rank(rank, value._lock))  # type: ignore[attr-defined]
    original = getattr(kind, "_faultkit_original", value)
    copy: Any = object.__new__(kind.__mro__[1] if original is not value else kind)
    vars(copy).update((name, _of_rank(rank, entry)) for name, entry in vars(original).items())
    return copy
