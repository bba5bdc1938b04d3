"""Exceptions as values: build the one that an action names, describe any one as text.

`build` makes the exception of a raise action.  Its message is the action's, or by default ``injected by
faultkit: <fault>``; an OSError with an errno has the system's text for it instead, so that it looks like the
real thing.  Where the message does not say so, a note does.  Builtins that no single message can build:

    UnicodeDecodeError("utf-8", b"\\xff", 0, 1, message)
    UnicodeEncodeError("utf-8", "\\udcff", 0, 1, message)
    UnicodeTranslateError("\\udcff", 0, 1, message)
    ExceptionGroup(message, [RuntimeError(message)])
    BaseExceptionGroup(message, [KeyboardInterrupt(message)])

Any other type is called with the message, then with nothing.  `describe` turns a caught exception into an
`ErrorRecord`: the chain that a printed traceback would show, notes, groups, the failures inside the engine's
CheckpointException.  It survives exceptions whose ``__str__``, ``__repr__`` or notes raise, cycles in the
chain, and chains of any length, of which it keeps the first part.
"""

from __future__ import annotations

import builtins
import errno as errno_codes
import importlib
import os
import sys
from typing import Any

from faultkit.plan.actions import Action
from faultkit.runs.outcomes import ErrorRecord
from faultkit.runs.tracebacks import Frame, frames_of

__all__ = ["build", "describe", "exception_type"]

DEPTH_MAX = 24
RECORD_COUNT_MAX = 200
NOTE_COUNT_MAX = 50
_CAUSE = BaseException.__dict__["__cause__"]
_CONTEXT = BaseException.__dict__["__context__"]
_SUPPRESS = BaseException.__dict__["__suppress_context__"]
_TRACEBACK = BaseException.__dict__["__traceback__"]


def exception_type(name: str) -> type[BaseException]:
    """The exception class that ``"ValueError"`` or ``"module:Name"`` means; raises ValueError for none."""
    module_name, colon, qualified_name = name.rpartition(":")
    if not colon:
        found = getattr(builtins, name, None)
    else:
        try:
            found = importlib.import_module(module_name)
            for part in qualified_name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"exception {name!r} must be importable: {error}") from error
    if not isinstance(found, type) or not issubclass(found, BaseException):
        raise ValueError(f"exception {name!r} must name an exception class (got {found!r})")
    return found


def build(action: Action, fault_text: str) -> BaseException:
    """The exception that a raise action raises, new each time.  ValueError where it cannot be built."""
    kind = exception_type(str(action["exception"]))
    token = f"injected by faultkit: {fault_text}"
    given = action.get("message")
    number = _errno_number(action.get("errno"))
    message = str(given) if given is not None else token
    exception: BaseException
    if number is not None:
        exception = _built(kind, (number, str(given) if given is not None else os.strerror(number)))
    elif issubclass(kind, UnicodeDecodeError):
        exception = _built(kind, ("utf-8", b"\xff", 0, 1, message))
    elif issubclass(kind, UnicodeEncodeError):
        exception = _built(kind, ("utf-8", "\udcff", 0, 1, message))
    elif issubclass(kind, UnicodeTranslateError):
        exception = _built(kind, ("\udcff", 0, 1, message))
    elif issubclass(kind, BaseExceptionGroup):
        member = RuntimeError(message) if issubclass(kind, Exception) else KeyboardInterrupt(message)
        exception = _built(kind, (message, [member]))
    elif _is_checkpoint_exception(kind):
        exception = _built(kind, (message, {}))
    else:
        exception = _built(kind, (message,), ())
    if number is not None or given is not None:
        exception.add_note(token)
    return exception


def _built(kind: type[BaseException], *attempts: tuple[Any, ...]) -> BaseException:
    for arguments in attempts:
        try:
            return kind(*arguments)
        except Exception as error:
            reason = error
    raise ValueError(
        f"exception {kind.__module__}:{kind.__qualname__} must be built from a message or from nothing "
        f"(calling it raised {type(reason).__name__}: {_text(reason)})"
    ) from reason


def _errno_number(word: Any) -> int | None:
    if word is None or isinstance(word, int):
        return word
    return getattr(errno_codes, word)


def describe(
    exception: BaseException, tracebacks: bool = True, message_length_max: int | None = None
) -> ErrorRecord:
    """What `exception` says, as text; never raises, whatever the exception does.

    Without `tracebacks` no record holds the frames of one.  Messages and notes longer than
    `message_length_max` characters are cut there, with a mark.
    """
    return _Describer(tracebacks, message_length_max).record(exception, ())


class _Describer:
    def __init__(self, tracebacks: bool, message_length_max: int | None) -> None:
        self.tracebacks = tracebacks
        self.length_max = message_length_max
        self.left = RECORD_COUNT_MAX

    def record(self, error: BaseException, above: tuple[int, ...], summary: Any = None) -> ErrorRecord:
        self.left -= 1
        path = (*above, id(error))
        cause = _read(_CAUSE, error)
        context = None if _read(_SUPPRESS, error) else _read(_CONTEXT, error)
        members: tuple[ErrorRecord, ...] = ()
        if isinstance(error, BaseExceptionGroup):
            members = tuple(filter(None, (self._next(e, path) for e in _members(error))))
        failures, step = self._failures(error, path)
        number = getattr_or(error, "errno") if isinstance(error, OSError) else None
        return ErrorRecord(
            type_name=_clean(_name_of(type(error), "__qualname__")),
            module=_clean(_name_of(type(error), "__module__")),
            message=self._cut(_text(error) if failures is None else _summary(error, failures)),
            errno=number if type(number) is int else None,
            notes=tuple(map(self._cut, _notes(error))),
            frames=_frames(error, summary) if self.tracebacks else (),
            cause=self._next(cause, path),
            context=self._next(context, path) if context is not cause else None,
            members=members,
            failures=failures,
            step=step,
        )

    def _next(self, error: Any, path: tuple[int, ...], summary: Any = None) -> ErrorRecord | None:
        if not isinstance(error, BaseException) or id(error) in path:
            return None
        if len(path) >= DEPTH_MAX or self.left <= 0:
            return None
        return self.record(error, path, summary)

    def _failures(
        self, error: BaseException, path: tuple[int, ...]
    ) -> tuple[dict[int, ErrorRecord] | None, str | None]:
        if not _is_checkpoint_exception(type(error)):
            return None, None
        found: dict[int, ErrorRecord] = {}
        failures = getattr_or(error, "_failures")
        for rank, wrapped in list(failures.items()) if isinstance(failures, dict) else ():
            inner, summary = wrapped if isinstance(wrapped, tuple) and len(wrapped) == 2 else (wrapped, None)
            record = self._next(inner, path, summary)
            if record is not None and isinstance(rank, int):
                found[int(rank)] = record
        arguments = getattr_or(error, "args")
        step = arguments[0] if isinstance(arguments, tuple) and arguments else None
        return found, _clean(step) if isinstance(step, str) else None

    def _cut(self, text: str) -> str:
        if self.length_max is None or len(text) <= self.length_max:
            return text
        return f"{text[: self.length_max]} ... ({len(text)} characters)"


def _is_checkpoint_exception(kind: type) -> bool:
    api = sys.modules.get("torch.distributed.checkpoint.api")
    return api is not None and issubclass(kind, api.CheckpointException)


def getattr_or(owner: Any, name: str, default: Any = None) -> Any:
    """``getattr`` for objects that may raise anything at all."""
    try:
        return getattr(owner, name, default)
    except BaseException:
        return default


def _read(descriptor: Any, error: BaseException) -> Any:
    # Past any attribute of the subclass: the interpreter's own slot.
    return descriptor.__get__(error, type(error))


def _name_of(kind: type, attribute: str) -> str:
    name = (
        type.__dict__[attribute].__get__(kind) if attribute == "__qualname__" else getattr_or(kind, attribute)
    )
    return name if isinstance(name, str) else "?"


def _text(error: Any) -> str:
    try:
        return _clean(str(error))
    except BaseException as raised:
        return f"<unprintable {type(error).__qualname__}: __str__ raised {type(raised).__qualname__}>"


def _clean(text: str) -> str:
    """An exact str that can be encoded: lone surrogates become escapes."""
    if type(text) is str and text.isascii():
        return text
    return str.encode(text, "utf-8", "backslashreplace").decode("utf-8")


def _notes(error: BaseException) -> list[str]:
    notes = getattr_or(error, "__notes__", ())
    try:
        return [_text(note) for note in list(notes)[:NOTE_COUNT_MAX]]
    except BaseException:
        return []


def _members(group: BaseExceptionGroup[Any]) -> tuple[Any, ...]:
    members = getattr_or(group, "exceptions", ())
    return members if isinstance(members, tuple) else ()


def _frames(error: BaseException, summary: Any) -> tuple[Frame, ...]:
    try:
        found = frames_of(summary if summary is not None else _read(_TRACEBACK, error))
        if all(file.isascii() and function.isascii() for file, _, function in found):
            return found
        return tuple((_clean(file), line, _clean(function)) for file, line, function in found)
    except BaseException:
        return ()


def _summary(error: BaseException, failures: dict[int, ErrorRecord]) -> str:
    # The engine's own text has every traceback in it, which costs more to make than all the rest.
    lines = [f"{failure.type_name}: {failure.message} (RANK {rank})" for rank, failure in failures.items()]
    return "\n".join([f"CheckpointException ranks:{list(failures)}", *lines])
