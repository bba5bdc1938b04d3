"""Tells of memory maps through which a wanted file can be written: those writes are no calls, and nobody sees them.

Guarantees: a handler with a `note` method hears, in one sentence, of each writable shared map of a file that it
wants; and one with a method `synced` of each `os.sync`.  Not covered: maps made by C, C++ or Rust code.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import Any

from faultkit.interception import chain, handles
from faultkit.interception.patches import Patches

__all__ = ["install"]

_mmap = mmap.mmap
_sync = os.sync


class _Kind(type(_mmap)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _mmap)


class _Map(_mmap, metaclass=_Kind):
    def __new__(cls, fileno: int, *args: Any, **kwargs: Any) -> Any:
        made = _mmap.__new__(_mmap, fileno, *args, **kwargs)
        handle = handles.find(fileno) if fileno >= 0 else None
        if handle is not None and handle.chain and _writes_to_file(*args, **kwargs):
            _note(handle.chain, f"writes through a memory map of {handle.path} are not recorded")
        return made


def _writes_to_file(
    length: int,
    flags: int = mmap.MAP_SHARED,
    prot: int = mmap.PROT_WRITE | mmap.PROT_READ,
    access: int = mmap.ACCESS_DEFAULT,
    offset: int = 0,
    **more: Any,
) -> bool:
    if access != mmap.ACCESS_DEFAULT:
        return access == mmap.ACCESS_WRITE
    return bool(flags & mmap.MAP_SHARED and prot & mmap.PROT_WRITE)


def _synced() -> None:
    start_ns = time.monotonic_ns()
    _sync()
    for handler in chain.handlers():
        synced = getattr(handler, "synced", None)
        if synced is not None:
            synced(start_ns)


def _note(chain: tuple[Any, ...], sentence: str) -> None:
    for handler in chain:
        note = getattr(handler, "note", None)
        if note is not None:
            note(sentence)


def install(patches: Patches) -> None:
    """Replace `mmap.mmap` and `os.sync`."""
    patches.set_attribute(mmap, "mmap", _Map)
    patches.set_attribute(os, "sync", _synced)
