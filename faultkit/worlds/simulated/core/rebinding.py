"""Replaces functions of the standard library and of torch, also where somebody has taken them by name.

Guarantees: `sweep`, called once after all replacements, gives the replacement to every module of the user's that has
the original under a name of its own (``from os import _exit``): pytest's test modules are loaded before the host
replaces anything.  A function written in C is replaced in its own module, too (`posix._exit` is `os._exit`), since
that is where a pickled function of a plain script looks for it.  What stands for it behaves as it did: as an attribute
of a class it is no method, and it is pickled by its name.  A replacement of a replacement counts.

Not covered: what the standard library and installed packages have taken by name, and names kept in closures, default
arguments and objects.
"""

from __future__ import annotations

import functools
import sys
import sysconfig
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from faultkit.interception import rebinding

__all__ = ["is_of_user", "loaded_now", "replace", "replacement_of", "sweep", "user_modules"]

_SYSTEM = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))

_replaced: dict[
    int, tuple[Any, Any]
] = {}  # by the identity of the original, which is kept so that it stays its own


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put what `make` makes of ``owner.name`` in its place."""
    original = getattr(owner, name)
    replacement = make(original)
    if isinstance(original, BuiltinFunctionType) and isinstance(replacement, FunctionType):
        replacement = _AsBuiltin(functools.update_wrapper(replacement, original))
        replacement.__module__ = original.__module__
    _replaced[id(original)] = original, replacement
    setattr(owner, name, replacement)
    if isinstance(original, BuiltinFunctionType) and original.__module__:
        home, name = vars(sys.modules[original.__module__]), original.__name__
        if home.get(name) is original:
            home[name] = replacement


class _AsBuiltin(functools.partial[Any]):
    """A function of Python that stands for one of C, such as a clock that a class keeps."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self

    def __reduce__(self) -> Any:
        return self.func.__name__


def replacement_of(value: Any) -> Any:
    """What stands for `value` now; itself where nothing does."""
    found = _replaced.get(id(value))
    while found is not None and found[0] is value:
        value = found[1]
        found = _replaced.get(id(value))
    return value


def is_of_user(module: ModuleType) -> bool:
    """Whether a module is neither the standard library's, nor installed, nor faultkit's own."""
    file = getattr(module, "__file__", None)
    return (
        isinstance(file, str) and not file.startswith(_SYSTEM) and not module.__name__.startswith("faultkit.")
    )


_users: tuple[object, tuple[ModuleType, ...]] = None, ()


def loaded_now() -> tuple[int, str]:
    """What changes where a module comes: how many there are, and the last.  To look at each costs a host its memory."""
    return len(sys.modules), next(reversed(sys.modules))


def user_modules() -> tuple[ModuleType, ...]:
    """Those that `is_of_user`; looked for anew where modules have come."""
    global _users
    if _users[0] != (now := loaded_now()):
        _users = now, tuple(module for module in list(sys.modules.values()) if is_of_user(module))
    return _users[1]


def sweep() -> None:
    """Replace what modules of the user's have imported by name."""
    wanted = {key: original for key, (original, _) in _replaced.items()}
    for module in user_modules():
        for name, original in rebinding.names_in(module, wanted):
            setattr(module, name, replacement_of(original))
