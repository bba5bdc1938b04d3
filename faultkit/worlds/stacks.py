"""Shortens the stacks that faulthandler writes: the frames of faultkit itself and below say nothing to a user."""

from __future__ import annotations

import os

__all__ = ["shorten"]

_OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


def shorten(dump: str) -> str:
    """The dump without faultkit's own frames and without what started the process; threads stay apart."""
    lines: list[str] = []
    for line in dump.splitlines():
        if line.lstrip().startswith("File ") and _OURS in line:
            if lines and lines[-1].lstrip().startswith("File ") and "/worlds/rank.py" in line:
                # everything further out is how the rank was started
                lines.append("")
            continue
        lines.append(line)
    text: list[str] = []
    skipping = False
    for line in lines:
        if line == "":
            skipping = True
            continue
        if not line.lstrip().startswith("File "):
            skipping = False
        if not skipping:
            text.append(line)
    return "\n".join(text).strip()
