"""What simulated ranks print is the rank's: standard output and error, and the handlers of `logging` on them.

Promises.  Text that Python code writes to `sys.stdout` or `sys.stderr`, whoever has taken these by name, goes to the
rank that writes; any other thread's to the host's own.  Left out: what C code prints.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from faultkit.worlds.simulated.replacing import replace, replacement_of
from faultkit.worlds.simulated.scheduler import current_task

__all__ = ["install"]


def install() -> None:
    """Once, in the host."""
    for name in ("stdout", "stderr"):
        replace(sys, name, _Router)
    _reroute_logging()


def _reroute_logging() -> None:
    """Handlers that were made before write to the stream of whatever rank logs."""
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        handler = reference()
        if handler is None or isinstance(getattr(type(handler), "stream", None), property):
            continue  # the latter asks for the stream each time
        stream = getattr(handler, "stream", None)
        now = replacement_of(stream)
        if now is not stream:
            handler.stream = now
        elif _is_standard(stream):
            handler.stream = sys.stderr


def _is_standard(stream: Any) -> bool:
    """Whether it is the standard error that the process had before its streams were opened anew."""
    return stream is not None and getattr(stream, "name", "") == "<stderr>"


class _Router:
    """A text stream whose output is that of the rank that writes; any other thread's is the host's."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, original: Any) -> None:
        self._original = original

    def write(self, text: str) -> int:
        task = current_task()
        if task is None:
            return int(self._original.write(text))
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        task.rank.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if current_task() is None:
            self._original.flush()

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
