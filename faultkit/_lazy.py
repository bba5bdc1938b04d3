"""The names of a package, each loaded when it is first used: importing the package imports none of them.

Guarantees: a name is looked up once; a name that the package does not have is an AttributeError that says so.  Not
covered: a package whose names need no import of their own; it lists them itself.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping

__all__ = ["attach"]


def attach(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of `package`; `homes` says in which module each name lives.

    A module's own name stands for the module itself.
    """

    def load(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package]
            )
        module = importlib.import_module(home)
        value = (
            module if home.rpartition(".")[2] == name and not hasattr(module, name) else getattr(module, name)
        )
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load, names
