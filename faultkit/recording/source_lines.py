"""Which lines of the engine or of the user's code issued an operation: a few frames, cheaply.

Guarantees: innermost first, at most `FRAME_COUNT_MAX`, as "torch/distributed/checkpoint/filesystem.py:512 in finish";
frames of this package, of `os`, `pathlib`, `shutil` and their like are left out.  A file name is told relative to
the entry of `sys.path` that it was imported from.
"""

from __future__ import annotations

import os
import sys
from types import CodeType, FrameType

from faultkit import own_frames

__all__ = ["FRAME_COUNT_MAX", "lines_of"]

FRAME_COUNT_MAX = 6
LAYER = (
    "os",
    "pathlib",
    "shutil",
    "tempfile",
    "threading",
    "contextlib",
    "codecs",
    "concurrent",
    "functools",
)

# By identity, since to hash a code object means to hash all of its instructions; kept, so that none is reused.
_labels: dict[int, tuple[CodeType, tuple[str, str] | None]] = {}
_texts: dict[tuple[int, int], str] = {}
_HIDDEN = ("<frozen", *own_frames.MACHINERY)
_library = os.path.dirname(os.__file__)


def lines_of(frame: FrameType | None) -> list[str]:
    """The lines that led to `frame`, itself included."""
    found: list[str] = []
    while frame is not None and len(found) < FRAME_COUNT_MAX:
        code = frame.f_code
        key = id(code)
        entry = _labels.get(key)
        if entry is None:
            entry = _labels[key] = (code, _label(code))
        label = entry[1]
        if label is not None:
            line = frame.f_lineno or 0
            text = _texts.get((key, line))
            if text is None:
                text = _texts[key, line] = f"{label[0]}:{line} in {label[1]}"
            found.append(text)
        frame = frame.f_back
    return found


def _label(code: CodeType) -> tuple[str, str] | None:
    path = code.co_filename
    if path.startswith(_HIDDEN):
        return None
    if path.startswith(_library) and path[len(_library) + 1 :].split(os.sep)[0].removesuffix(".py") in LAYER:
        return None
    return _short(path), code.co_name


def _short(path: str) -> str:
    bases = [entry for entry in sys.path if entry and path.startswith(entry.rstrip(os.sep) + os.sep)]
    return path[len(max(bases, key=len).rstrip(os.sep)) + 1 :] if bases else path
