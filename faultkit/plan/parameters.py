"""The parameters of actions: what each type of value is, read into its one canonical form, and printed.

    exception   name of a builtin exception, or module:Name; a class is taken for its name
    errno       name of the errno module, or the number
    message     text
    signal      name of a signal of this platform, or the number
    choice      one of the parameter's words
    integer, number    between the parameter's minimum and maximum

A name that has aliases (IOError, EWOULDBLOCK, SIGIOT) is kept as its true name.  Nothing is imported to check
a ``module:Name``.  A value of a wrong Python type is a TypeError, a wrong value a PlanError.
"""

from __future__ import annotations

import builtins
import errno as errno_codes
import functools
import re
import signal as signals
from collections.abc import Callable

import msgspec

from faultkit.exceptions import PlanError
from faultkit.messages import nearest, seen
from faultkit.plan.file_filters import quoted

__all__ = [
    "BYTES_MAX",
    "MEGABYTES_MAX",
    "MESSAGE_LENGTH_MAX",
    "SECONDS_MAX",
    "Parameter",
    "Value",
    "misfit",
    "print_value",
    "read_value",
    "require_errno_fits",
]

Value = str | int | float

SECONDS_MAX = 3600
MEGABYTES_MAX = 1_048_576
BYTES_MAX = MEGABYTES_MAX << 20
MESSAGE_LENGTH_MAX = 10_000
TYPE_NAME_LENGTH_MAX = 300

_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
_MODULE_AND_NAME = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*:{_IDENTIFIER}(?:\.{_IDENTIFIER})*"


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of an action.

    `type` is one of those above; `choices`, `minimum` and `maximum` bound it.  `default` is None where
    leaving it out means "none".  A value equal to the default is neither kept nor printed, unless `shown`.
    """

    name: str
    type: str
    default: Value | None = None
    doc: str = ""
    required: bool = False
    shown: bool = False
    choices: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int = 0


def read_value(parameter: Parameter, value: object) -> Value:
    """`value` in the canonical form of the parameter.  Raises PlanError, TypeError for a wrong type."""
    return _READERS[parameter.type](parameter, value)


def print_value(parameter: Parameter, value: Value) -> str:
    """A canonical value as the grammar writes it."""
    if parameter.type == "message":
        return quoted(str(value))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def misfit(parameter: Parameter, what: str, hint: str = "") -> str:
    """The message that `what`, as it was seen, is no value of the parameter."""
    if parameter.type == "choice":
        rule = " or ".join(parameter.choices)
    elif parameter.type in ("integer", "number"):
        kind = "an integer" if parameter.type == "integer" else "a finite number"
        rule = f"{kind} from {parameter.minimum} to {parameter.maximum}"
    else:
        rule = _RULES[parameter.type]
    return f"{parameter.name} must be {rule} (got {what}){hint}"


def require_errno_fits(exception: object, errno: object) -> None:
    """Raises PlanError where `errno` is given with a builtin exception that is no OSError."""
    # What module:Name is cannot be known without importing it, so it is taken at its word.
    if errno is None or not isinstance(exception, str) or ":" in exception:
        return
    if not issubclass(getattr(builtins, exception), OSError):
        raise PlanError(
            f"errno needs OSError or a subclass of it (got {errno} with {exception}); did you mean 'OSError'?"
        )


_RULES = {
    "exception": "the name of a builtin exception, or module:Name",
    "errno": "a name of the errno module, such as ENOSPC",
    "message": f"text of at most {MESSAGE_LENGTH_MAX} characters",
    "signal": "the name of a signal of this platform, such as SIGKILL",
}


def _text(parameter: Parameter, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(misfit(parameter, seen(value)))
    return value


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _read_exception(parameter: Parameter, value: object) -> str:
    if isinstance(value, type) and issubclass(value, BaseException):
        builtin = getattr(builtins, value.__name__, None) is value
        value = value.__name__ if builtin else f"{value.__module__}:{value.__qualname__}"
    text = _text(parameter, value)
    known = _builtin_exceptions()
    if text in known:
        return known[text]
    if len(text) <= TYPE_NAME_LENGTH_MAX and re.fullmatch(_MODULE_AND_NAME, text):
        return text
    raise PlanError(misfit(parameter, seen(text), nearest(text, known)))


def _read_errno(parameter: Parameter, value: object) -> str:
    numbers = _errno_numbers()
    number = value if _is_integer(value) else numbers.get(_text(parameter, value))
    name = errno_codes.errorcode.get(number) if isinstance(number, int) else None
    if name is None:
        raise PlanError(misfit(parameter, seen(value), nearest(value, numbers)))
    return name


def _read_message(parameter: Parameter, value: object) -> str:
    text = _text(parameter, value)
    if len(text) > MESSAGE_LENGTH_MAX:
        raise PlanError(misfit(parameter, f"{len(text)} characters"))
    # Two lone surrogates that stand together would be read back from JSON escapes as one character.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _read_signal(parameter: Parameter, value: object) -> str:
    try:
        if isinstance(value, int) and _is_integer(value):
            return signals.Signals(value).name
        return signals.Signals[_text(parameter, value)].name
    except (KeyError, ValueError, OverflowError):
        word = f"SIG{value}" if isinstance(value, str) and not value.startswith("SIG") else value
        hint = nearest(word, (s.name for s in signals.Signals))
        raise PlanError(misfit(parameter, seen(value), hint)) from None


def _read_choice(parameter: Parameter, value: object) -> str:
    text = _text(parameter, value)
    if text not in parameter.choices:
        raise PlanError(misfit(parameter, seen(text), nearest(text, parameter.choices)))
    return text


def _read_integer(parameter: Parameter, value: object) -> int:
    number = _bounded(parameter, value)
    if isinstance(number, float):
        raise PlanError(misfit(parameter, seen(value)))
    return number


def _read_number(parameter: Parameter, value: object) -> float:
    return abs(float(_bounded(parameter, value)))  # -0.0 is 0.0


def _bounded(parameter: Parameter, value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(misfit(parameter, seen(value)))
    if not parameter.minimum <= value <= parameter.maximum:  # nan and infinities fail here, too
        raise PlanError(misfit(parameter, seen(value)))
    return value


_READERS: dict[str, Callable[[Parameter, object], Value]] = {
    "exception": _read_exception,
    "errno": _read_errno,
    "message": _read_message,
    "signal": _read_signal,
    "choice": _read_choice,
    "integer": _read_integer,
    "number": _read_number,
}


@functools.cache
def _builtin_exceptions() -> dict[str, str]:
    return {
        name: value.__name__
        for name, value in vars(builtins).items()
        if isinstance(value, type) and issubclass(value, BaseException) and not name.startswith("_")
    }


@functools.cache
def _errno_numbers() -> dict[str, int]:
    return {name: value for name, value in vars(errno_codes).items() if isinstance(value, int)}
