"""Puts the functions of `descriptors` and `opening` in the place of the interpreter's, and the originals back.

Guarantees: modules that imported a function by name before (``from os import fsync``) get the replacement, too, and
the original back.  `os.supports_dir_fd` and its like answer for a replacement as they do for the original.  Left
out: references kept in closures and objects, and in default arguments outside of the standard library.
"""

from __future__ import annotations

import builtins
import functools
import io
import os
import sys
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any

from faultkit.interception import descriptors, handles, mapped, opening, reading

__all__ = ["install", "renew", "uninstall"]

_SUPPORTS = ("supports_dir_fd", "supports_effective_ids", "supports_fd", "supports_follow_symlinks")
_WITH_DEFAULTS = frozenset({"tempfile"})  # modules that keep functions of os as defaults of methods
_OWN = ("faultkit.interception.", "faultkit.recording.")  # they keep the originals
# Of modules only references, which keep none: what a program has open it closes when its main module goes, and that
# must go while there is still somebody to see it.
_seen: dict[int, Callable[[], Any]] = {}  # modules that were searched, by identity
_last: tuple[int, Callable[[], Any]] = (0, lambda: None)  # how many there were, and the last one
_holders: list[tuple[Callable[[], Any], str, str]] = []  # module, name in it, name in os
_defaults: list[tuple[FunctionType, list[str]]] = []  # a function, and of each default its name in os, or ""
_undo: list[Callable[[], None]] = []
_reads = False


def install() -> None:
    """Replace what changes files."""
    real_open = builtins.open
    seen_open = opening.make_open(real_open)
    for module in (builtins, io):
        _set(vars(module), "open", seen_open)
    _set(vars(io), "FileIO", opening.SeenFileIO)
    mapped.install(_set)
    _replace(descriptors.CHANGES)
    _search(real_open)
    for function, names in _defaults:
        before = function.__defaults__ or ()
        seen = tuple(vars(os)[name] if name else value for name, value in zip(names, before, strict=True))
        _undo.append(functools.partial(setattr, function, "__defaults__", before))
        function.__defaults__ = seen
    for reference, name, of_os in _holders:
        made = seen_open if of_os == "builtins.open" else vars(os)[of_os]
        holder = reference()
        if holder is not None and (of_os == "builtins.open" or of_os in descriptors.CHANGES):
            _set_in(reference, name, made)


def renew(*, reads: bool) -> None:
    """Handlers came or went: ask for every open file again, and see reads where one wants them."""
    global _reads
    if reads and not _reads:
        _replace(reading.READS)
        _reads = True
    handles.renew()


def uninstall() -> None:
    """Put everything back."""
    global _reads
    while _undo:
        _undo.pop()()
    _reads = False
    handles.clear()


def _replace(functions: dict[str, Callable[..., Any]]) -> None:
    for name, function in functions.items():
        original = vars(os)[name]
        for supports in _SUPPORTS:
            held: set[Any] = getattr(os, supports, set())
            if original in held and function not in held:
                held.add(function)
        _set(vars(os), name, function)


def _set(namespace: dict[str, Any], name: str, value: Any) -> None:
    before = namespace[name]
    namespace[name] = value

    def undo() -> None:
        if namespace.get(name) is value:  # else somebody has replaced it since; theirs stays
            namespace[name] = before

    _undo.append(undo)


def _set_in(reference: Callable[[], Any], name: str, value: Any) -> None:
    """As `_set`, in a module that may be gone before it is undone."""
    before = vars(reference())[name]
    vars(reference())[name] = value

    def undo() -> None:
        module = reference()
        if module is not None and vars(module).get(name) is value:
            vars(module)[name] = before

    _undo.append(undo)


def _reference(module: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(module)
    except TypeError:  # what stands among the modules without being one
        return lambda: module


def _search(real_open: Any) -> None:
    """Find, in modules that were not searched yet, the functions that were imported by name."""
    global _last
    count, last = len(sys.modules), next(reversed(sys.modules.values()))
    if _last[0] == count and _last[1]() is last:
        return  # there are thousands, and a save can take less time than a look at each
    _last = count, _reference(last)
    wanted = {id(function): name for name, function in descriptors.originals().items()}
    wanted[id(real_open)] = "builtins.open"
    for module_name, module in list(sys.modules.items()):
        if (reference := _seen.get(id(module))) is not None and reference() is module:
            continue
        reference = _seen[id(module)] = _reference(module)
        if module in (os, io, builtins) or module_name.startswith(_OWN) or module_name in ("posix", "_io"):
            continue
        try:
            namespace = vars(module)
            found = [
                (name, wanted[id(value)]) for name, value in list(namespace.items()) if id(value) in wanted
            ]
        except (TypeError, RuntimeError):
            continue
        if module_name in _WITH_DEFAULTS:
            _defaults.extend(_functions_with(wanted, namespace))
        _holders.extend((reference, name, of_os) for name, of_os in found)


def _functions_with(
    wanted: dict[int, str], namespace: dict[str, Any]
) -> list[tuple[FunctionType, list[str]]]:
    """The functions and methods of a module that have one of `wanted` as a default."""
    values = list(namespace.values())
    values += [value for kind in values if isinstance(kind, type) for value in vars(kind).values()]
    found = []
    for function in values:
        if isinstance(function, FunctionType) and function.__defaults__:
            names = [wanted.get(id(value), "") for value in function.__defaults__]
            if any(names):
                found.append((function, names))
    return found
