"""Reads plain values out of the bytes in which the stock engine stores what is no tensor, without running anything.

These are those of ``torch.save``: an archive whose first entry, not compressed, is a pickle.  Numbers, texts, None
and containers of these need no more than the pickle itself; everything else, and what came by another way, is not read
here.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from typing import Any

__all__ = ["UNKNOWN", "plain_value"]

UNKNOWN: Any = object()
_ENTRY = struct.Struct("<4sHHHHHIIIHH")  # the header of an entry of an archive
_SIGNATURE, _NOT_COMPRESSED = b"PK\x03\x04", 0


def plain_value(stored: bytes) -> Any:
    """The value, or UNKNOWN where it is not a plain one."""
    try:
        signature, _, _, method, *_, name_length, extra_length = _ENTRY.unpack_from(stored)
        name = stored[_ENTRY.size : _ENTRY.size + name_length]
        if signature != _SIGNATURE or method != _NOT_COMPRESSED or not name.endswith(b"data.pkl"):
            return UNKNOWN
        file = io.BytesIO(stored)
        file.seek(_ENTRY.size + name_length + extra_length)
        return _Plain(file).load()
    except Exception:  # whatever a pickle of strange making leads to
        return UNKNOWN


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")
