"""Where a key of a c10d store really lies: the store below all prefixes, and the prefixes.

    PrefixStore("b", PrefixStore("a", a TCPStore at port 4711)), "k"      "tcp:4711/a/b/k"

Guarantees: two handles give one text for a key only where they are of one store; of torch itself no store says its
prefix, so each is noted when it is made.  "" where it cannot be told: a prefix that was made before `watch`, or in C++,
a store in the memory of one process, and any other class of store.  Not covered: two machines whose stores have the
same port.
"""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable
from typing import Any

from faultkit.interception.patches import Patches

__all__ = ["place_of", "watch"]

_stat = os.stat
_places: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()  # of stores that have a prefix


def watch(patches: Patches) -> None:
    """Note the prefix of every `PrefixStore` that is made from now on."""
    from torch._C._distributed_c10d import PrefixStore

    patches.set_attribute(PrefixStore, "__init__", _noting(PrefixStore.__init__))


def place_of(store: Any, key: str) -> str:
    """The place of `key` of `store`; "" where it cannot be told."""
    place = _place(store)
    return f"{place}/{key}" if place else ""


def _place(store: Any) -> str:
    from torch._C._distributed_c10d import FileStore, PrefixStore, TCPStore

    kind = type(store)
    if kind is PrefixStore:
        return _places.get(store, "")
    if kind is TCPStore:
        return f"tcp:{store.port}"
    return _file(store.path) if kind is FileStore else ""


def _file(path: str) -> str:
    """The file, whatever each process calls it."""
    try:
        found = _stat(path)
    except OSError:
        return ""
    return f"file:{found.st_dev}:{found.st_ino}"


def _noting(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def make(self: Any, prefix: str, store: Any) -> None:
        original(self, prefix, store)
        if below := _place(store):
            _places[self] = f"{below}/{prefix}"  # now: the handle on what lies below may be gone soon

    return make
