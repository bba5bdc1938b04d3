"""Replacements that are undone: attributes of modules and classes, cells of closures, functions imported by name.

Guarantees: whatever changes attributes in this process does it through a `Patches`, so that undoing is one call: in
reverse order, each on its own, all of them even where one fails.  What somebody has replaced since stays theirs.  A
replaced class attribute that had been inherited is deleted again, not set.  No module is kept alive.  Not covered: who
holds a function otherwise than by name or in a decorator's closure; see `faultkit.interception.rebinding`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import CellType, FunctionType, ModuleType
from typing import Any

from faultkit.interception import rebinding

__all__ = ["Patches"]

_MISSING = object()


class Patches:
    """A stack of replacements.  Not thread-safe: the caller holds a lock."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def set_attribute(self, owner: Any, name: str, value: Any) -> None:
        """Set ``owner.name`` of a module or class; the raw entry of its namespace is what comes back."""
        if isinstance(owner, ModuleType):  # past what the module makes of setting, and without keeping it
            self._set_item(rebinding.reference(owner), name, value)
            return
        before = vars(owner).get(name, _MISSING)
        setattr(owner, name, value)

        def undo() -> None:
            if vars(owner).get(name, _MISSING) is not value:
                return  # somebody has replaced it since; theirs stays
            if before is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

        self._undo.append(undo)

    def set_in_instance(self, instance: Any, name: str, value: Any) -> None:
        """Put `value` into the instance's own namespace, past any ``__setattr__``."""
        self._set_item(lambda: instance, name, value)

    def _set_item(self, owner: Callable[[], Any], name: str, value: Any) -> None:
        namespace = vars(owner())
        before = namespace.get(name, _MISSING)
        namespace[name] = value
        del namespace

        def undo() -> None:
            there = owner()
            if there is None or vars(there).get(name, _MISSING) is not value:
                return
            if before is _MISSING:
                del vars(there)[name]
            else:
                vars(there)[name] = before

        self._undo.append(undo)

    def set_up(self, undo: Callable[[], None]) -> None:
        """Something else was set up, which `undo` takes down."""
        self._undo.append(undo)

    def reroute(
        self, module: ModuleType, name: str, wrap: Callable[[Any], Any], others: Iterable[ModuleType] = ()
    ) -> bool:
        """Put ``wrap(function)`` in the place of the function `name` of `module`, however it was imported.

        Where the function is a decorator's wrapper that keeps the decorated function in a closure cell, the
        cell is replaced: who imported the function by name before now is reached as well.  Otherwise the
        module, and each of `others` that has the very function by name, gets the new one.  False where the module
        has no such function.
        """
        function = getattr(module, name, None)
        if function is None:
            return False
        cell = _inner_cell(function)
        if cell is not None:
            self._set_cell(cell, wrap(cell.cell_contents))
            return True
        replacement = wrap(function)
        for holder in {id(m): m for m in (module, *others)}.values():
            for its_name, _ in rebinding.names_in(holder, {id(function): function}):
                self.set_attribute(holder, its_name, replacement)
        return True

    def _set_cell(self, cell: CellType, value: Any) -> None:
        before = cell.cell_contents
        cell.cell_contents = value

        def undo() -> None:
            if cell.cell_contents is value:
                cell.cell_contents = before

        self._undo.append(undo)

    def undo(self) -> None:
        """Undo everything, last first; the first error is raised when all the rest is undone."""
        failed: BaseException | None = None
        while self._undo:
            try:
                self._undo.pop()()
            except BaseException as error:
                failed = failed or error
        if failed is not None:
            raise failed


def _inner_cell(function: Any) -> CellType | None:
    inner = getattr(function, "__wrapped__", None)
    if inner is None or not isinstance(function, FunctionType):
        return None
    for cell in function.__closure__ or ():
        try:
            if cell.cell_contents is inner:
                return cell
        except ValueError:  # an empty cell
            continue
    return None
