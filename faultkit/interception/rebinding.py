"""Finds who has a function otherwise than by its own module (``from os import access``), to give him what replaces it.

There are two reaches, since the far one costs a tenth of a second in a process that has torch, and cannot be undone:

* `names_in` finds the names in the namespace of a module, under whatever name.  It is for what is replaced for a while,
  and for modules as they come.  Not covered: closures, defaults, and attributes of classes and objects.
* `find` looks at every object that the collector knows, whatever it was imported from or unpickled as: namespaces and
  other dicts, lists, sets (`os.supports_dir_fd`), closures, defaults of functions, attributes.  It is for a process
  that forks others; `Holders.replace` is for those, and puts nothing back.  Not covered: what cannot be changed (a
  tuple, a `functools.partial`, a `staticmethod`), and what only C holds.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import CellType, FunctionType, ModuleType
from typing import Any

__all__ = ["Holders", "find", "names_in", "reference"]


def names_in(module: Any, wanted: Mapping[int, Any]) -> list[tuple[str, Any]]:
    """The names in a module's namespace of objects that `wanted` has by identity, with what it has of them."""
    try:
        namespace = vars(module)
        return [(name, wanted[id(value)]) for name, value in list(namespace.items()) if id(value) in wanted]
    except (
        TypeError,
        RuntimeError,
    ):  # what stands among the modules without being one; one that changes just now
        return []


def reference(module: Any) -> Callable[[], Any]:
    """Gives the module for as long as others keep it; a program's main module must go when the program ends."""
    try:
        return weakref.ref(module)
    except TypeError:
        return lambda: module


class Holders:
    """Who holds functions that stand in modules; made by `find`."""

    def __init__(
        self, seen: tuple[tuple[ModuleType, str, Any], ...], found: tuple[tuple[Any, tuple[Any, ...]], ...]
    ) -> None:
        self._seen = seen
        self._found = found

    def replace(self) -> None:
        """Give all of them what stands in the modules now."""
        made = {id(original): getattr(module, name) for module, name, original in self._seen}
        for holder, keys in self._found:
            _put(holder, keys, made)


def find(seen: Iterable[tuple[ModuleType, str]]) -> Holders:
    """Who holds the functions with these modules and names."""
    originals = tuple((module, name, getattr(module, name)) for module, name in seen)
    wanted = {id(function) for *_, function in originals}
    ours = {id(wanted), id(originals), *map(id, originals)}
    holders = [
        one for one in gc.get_referrers(*(function for *_, function in originals)) if id(one) not in ours
    ]
    defaults = {id(one) for one in holders if type(one) is tuple}
    if defaults:
        holders += [
            one
            for one in gc.get_referrers(*(one for one in holders if type(one) is tuple))
            if type(one) is FunctionType and id(one.__defaults__) in defaults
        ]
    found = ((holder, _keys(holder, wanted)) for holder in holders)
    return Holders(originals, tuple((holder, keys) for holder, keys in found if keys))


def _keys(holder: Any, wanted: set[int]) -> tuple[Any, ...]:
    """Where in `holder` they stand; () where nothing can be put in their place."""
    if type(holder) is CellType:
        return (0,)
    if isinstance(holder, dict):
        return _where(holder.items(), wanted)
    if isinstance(holder, list):
        return _where(enumerate(holder), wanted)
    if isinstance(holder, set):
        return tuple(one for one in holder if id(one) in wanted)
    if type(holder) is FunctionType:
        return _where(enumerate(holder.__defaults__ or ()), wanted)
    attributes = _attributes(holder)
    return _where(attributes.items(), wanted) if attributes else ()


def _where(items: Iterable[tuple[Any, Any]], wanted: set[int]) -> tuple[Any, ...]:
    return tuple(key for key, value in items if id(value) in wanted)


def _attributes(holder: Any) -> dict[str, Any] | None:
    try:
        return object.__getattribute__(holder, "__dict__")  # not what its class makes of it
    except AttributeError:
        return None


def _put(holder: Any, keys: tuple[Any, ...], made: dict[int, Callable[..., Any]]) -> None:
    if type(holder) is CellType:
        holder.cell_contents = made.get(id(holder.cell_contents), holder.cell_contents)
    elif isinstance(holder, set):
        holder.update(made[id(key)] for key in keys)
    elif type(holder) is FunctionType:
        values = list(holder.__defaults__ or ())
        for key in keys:
            values[key] = made.get(id(values[key]), values[key])
        holder.__defaults__ = tuple(values)
    else:
        place = holder if isinstance(holder, (dict, list)) else _attributes(holder)
        assert place is not None
        for key in keys:
            place[key] = made.get(id(place[key]), place[key])
