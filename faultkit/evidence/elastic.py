"""The `error.json` of torchelastic, in its four shapes, as an error of a rank.

Not covered: the launcher's summary, which is part of a log (`faultkit.evidence.logs`).
"""

from __future__ import annotations

from typing import Any

from faultkit.evidence.logs import LogReader
from faultkit.evidence.values import Error, Exit, Origin

__all__ = ["error_of", "is_error_file"]


def is_error_file(found: Any) -> bool:
    """Whether JSON that was read has the shape of one."""
    return isinstance(found, dict) and "message" in found and isinstance(found["message"], dict | str)


def error_of(found: dict[str, Any], file: str) -> tuple[Error | None, Exit | None]:
    """The error in it, and the exit where it tells of a signal."""
    message = found["message"]
    if isinstance(message, str):
        return _named(message, file, _seconds(found.get("timestamp"))), None
    text = str(message.get("message", ""))
    extra = message.get("extraInfo")
    extra = extra if isinstance(extra, dict) else {}
    seconds = _seconds(extra.get("timestamp"))
    code = message.get("errorCode")
    if isinstance(code, int) and not isinstance(code, bool) and code:
        return None, Exit(Origin(file), code, _signal(code), False, False, seconds)
    stack = extra.get("py_callstack")
    stack = "".join(str(line) for line in stack) if isinstance(stack, list) else str(stack or "")
    reader = LogReader(file)
    reader.feed(stack.splitlines())
    reader.close()
    if reader.errors:
        error = reader.errors[-1][1]
        return Error(
            error.type_name, error.message, Origin(file), error.frames, error.failures, seconds
        ), None
    named = _named(text, file, seconds)
    frames = tuple(frame for _, error in reader.errors for frame in error.frames)
    return Error(named.type_name, named.message, named.origin, frames, {}, seconds), None


def _named(text: str, file: str, seconds: float | None) -> Error:
    name, colon, message = text.partition(":")
    if colon and name.replace(".", "").replace("_", "").isalnum():
        return Error(name.rpartition(".")[2], message.strip(), Origin(file), (), {}, seconds)
    return Error("", text, Origin(file), (), {}, seconds)


def _seconds(told: Any) -> float | None:
    try:
        return float(told)
    except (TypeError, ValueError):
        return None


def _signal(code: int) -> str:
    import signal

    try:
        return signal.Signals(abs(code)).name
    except ValueError:
        return ""
