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
from collections.abc import Callable
from types import FunctionType
from typing import Any

from faultkit.interception import descriptors, handles, mapped, opening, reading, rebinding
from faultkit.interception.patches import Patches

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
_patches = Patches()
_reads = False


def install() -> None:
    """Replace what changes files."""
    real_open = builtins.open
    seen_open = opening.make_open(real_open)
    for module in (builtins, io):
        _patches.set_attribute(module, "open", seen_open)
    _patches.set_attribute(io, "FileIO", opening.SeenFileIO)
    mapped.install(_patches)
    _replace(descriptors.CHANGES)
    _search(real_open)
    for function, names in _defaults:
        before = function.__defaults__ or ()
        seen = tuple(vars(os)[name] if name else value for name, value in zip(names, before, strict=True))
        _patches.set_up(functools.partial(setattr, function, "__defaults__", before))
        function.__defaults__ = seen
    for reference, name, of_os in _holders:
        made = seen_open if of_os == "builtins.open" else vars(os)[of_os]
        holder = reference()
        if holder is not None and (of_os == "builtins.open" or of_os in descriptors.CHANGES):
            _patches.set_attribute(holder, name, made)


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
    _patches.undo()
    _reads = False
    handles.clear()


def _replace(functions: dict[str, Callable[..., Any]]) -> None:
    for name, function in functions.items():
        original = vars(os)[name]
        for supports in _SUPPORTS:
            held: set[Any] = getattr(os, supports, set())
            if original in held and function not in held:
                held.add(function)
        _patches.set_attribute(os, name, function)


def _search(real_open: Any) -> None:
    """Find, in modules that were not searched yet, the functions that were imported by name."""
    global _last
    count, last = len(sys.modules), next(reversed(sys.modules.values()))
    if _last[0] == count and _last[1]() is last:
        return  # there are thousands, and a save can take less time than a look at each
    _last = count, rebinding.reference(last)
    wanted = {id(function): name for name, function in descriptors.originals().items()}
    wanted[id(real_open)] = "builtins.open"
    for module_name, module in list(sys.modules.items()):
        if (reference := _seen.get(id(module))) is not None and reference() is module:
            continue
        reference = _seen[id(module)] = rebinding.reference(module)
        if module in (os, io, builtins) or module_name.startswith(_OWN) or module_name in ("posix", "_io"):
            continue
        if module_name in _WITH_DEFAULTS:
            _defaults.extend(_functions_with(wanted, vars(module)))
        found = rebinding.names_in(module, wanted)
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
