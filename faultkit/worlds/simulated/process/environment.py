"""`os.environ` and `os.environb` are those of the rank that asks.

What a process inherits that a rank starts: see `inheritance`.  Not covered: what C code reads from the environment, and
what `os.putenv` puts there, which is the host's.
"""

from __future__ import annotations

import os
from typing import Any

from faultkit.worlds.simulated.core.ranks import current_rank

__all__ = ["install"]


def install() -> None:
    """Once, in the host."""
    os.environ.__class__ = os.environb.__class__ = _Environment


class _Environment(os._Environ):  # type: ignore[type-arg]  # of bytes to mypy, and its data of str here
    """`os.environ` of the rank that asks; the process's own for any other thread."""

    @property
    def _data(self) -> Any:
        rank = current_rank()
        return self.__dict__["_data"] if rank is None else rank.environment

    @_data.setter
    def _data(self, value: Any) -> None:
        self.__dict__["_data"] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        rank = current_rank()
        if rank is None:
            super().__setitem__(key, value)
        else:
            rank.environment[self.encodekey(key)] = self.encodevalue(value)

    def __delitem__(self, key: Any) -> None:
        rank = current_rank()
        if rank is None:
            super().__delitem__(key)
            return
        try:
            del rank.environment[self.encodekey(key)]
        except KeyError:
            raise KeyError(key) from None
