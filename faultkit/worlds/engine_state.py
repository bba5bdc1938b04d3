"""What the engine keeps in its classes and modules, as a fresh process has it.

`torch.distributed.checkpoint` keeps some things for a process: `SavePlanner` caches plans and metadata in dicts of the
class.  Ranks that run one thing after the other would keep them from run to run, so that a verdict belonged to an
earlier plan, and what only a fresh process shows stayed hidden.

Guarantees: `put_back` gives every dict, list and set that a class or module of the engine holds the content that it had
when the module was first seen here, in place, and puts back one that was replaced.  `Kept` takes away what one
simulated rank has put into those that are empty in a fresh process, and puts it back for that rank alone.

Not covered: what a module that is imported later gets before it is first seen; caches of functions; single values, such
as the process of asynchronous saves, which is kept on purpose; and what code outside of the engine keeps.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["Kept", "put_back"]

ENGINE = "torch.distributed.checkpoint"
CONTAINERS = (dict, list, set)
_Container = Any  # a dict, a list or a set


class _Place:
    """A container, where it is found, and what a fresh process has in it."""

    __slots__ = ("container", "content", "name", "owner")

    def __init__(self, owner: Any, name: str, container: _Container) -> None:
        self.owner, self.name, self.container = owner, name, container
        self.content = container.copy()

    def put_back(self) -> None:
        if vars(self.owner).get(self.name) is not self.container:
            setattr(self.owner, self.name, self.container)
        if not _is_same(self.container, self.content):
            _fill(self.container, self.content)


class Kept:
    """What one rank has in the containers that are empty in a fresh process, while another rank runs."""

    __slots__ = ("_contents",)

    def __init__(self) -> None:
        self._contents: list[tuple[_Container, _Container]] = []

    def take(self) -> None:
        """Take everything away; costs nothing where the engine has kept nothing."""
        for container in _empty:
            if container:
                self._contents.append((container, container.copy()))
                container.clear()

    def give(self) -> None:
        """Put it back."""
        for container, content in self._contents:
            _fill(container, content)
        self._contents.clear()


_module_count = 0
_seen: set[str] = set()
_places: list[_Place] = []
_empty: list[_Container] = []  # in a fresh process


def put_back() -> None:
    """Every container of the engine has the content of a fresh process; modules that are new here are noted."""
    global _module_count
    for place in _places:
        place.put_back()
    if _module_count == len(sys.modules):
        return
    _module_count = len(sys.modules)
    for name, module in list(sys.modules.items()):
        if name not in _seen and _is_of_the_engine(name):
            _seen.add(name)
            for place in _containers_of(module):
                _places.append(place)
                if not place.content:
                    _empty.append(place.container)


def _containers_of(module: Any) -> Iterator[_Place]:
    for owner in (module, *_classes_of(module)):
        for name, value in list(vars(owner).items()):
            if type(value) not in CONTAINERS or name.startswith("__"):
                continue
            if owner is not module or not _is_of_others(name, value):
                yield _Place(owner, name, value)


def _classes_of(module: Any) -> list[type]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and not issubclass(value, enum.Enum)
    ]


def _is_of_others(name: str, value: _Container) -> bool:
    """Whether a module of the engine has it from elsewhere, such as the ``dispatch_table`` of `copyreg`."""
    return any(
        getattr(other, "__dict__", {}).get(name) is value
        for other_name, other in list(sys.modules.items())
        if not _is_of_the_engine(other_name)
    )


def _is_of_the_engine(name: str) -> bool:
    return name == ENGINE or name.startswith(f"{ENGINE}.")


def _is_same(one: _Container, other: _Container) -> bool:
    """Whether they hold the very same things, without asking these."""
    if len(one) != len(other):
        return False
    if not other:
        return True
    if isinstance(one, dict):
        return all(key in one and one[key] is value for key, value in other.items())
    return one == other if isinstance(one, set) else all(map(lambda a, b: a is b, one, other))


def _fill(container: _Container, content: _Container) -> None:
    container.clear()
    (container.extend if isinstance(container, list) else container.update)(content)
