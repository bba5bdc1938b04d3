"""How functions reach the ranks, and how values and exceptions come back.

Functions travel with cloudpickle, so closures, lambdas and local functions run on ranks; a function that a
module can be asked for travels by name, as multiprocessing does it, and the rank imports that module.
Code keeps the name of its file, which cloudpickle 3.1.3 and newer leave out: a traceback or a stack of a rank
without it would show no line of the test.
Exceptions come back twice: as text (`ErrorRecord`), which always arrives, and as an object, which arrives
if it pickles here and unpickles there; a traceback is attached to it through tblib.  tblib's pickling
support is not installed on a rank: it would change which exceptions the engine under test can pickle.
Not covered: shared memory for large arguments; a tensor travels by value.
"""

from __future__ import annotations

import functools
import io
import pickle
import types
from collections import ChainMap
from collections.abc import Callable
from typing import Any, ClassVar

import cloudpickle
import msgspec

from faultkit.exceptions import TransportError
from faultkit.runs import tracebacks
from faultkit.runs.outcomes import Died, ErrorRecord, Outcome, Raised, Returned, Untransportable
from faultkit.runs.tracebacks import Frame

__all__ = [
    "decode_outcome",
    "dump_call",
    "dumps",
    "encode_exception",
    "encode_value",
    "load_call",
    "travels",
]


def dumps(value: Any) -> bytes:
    """`value` as bytes for `pickle.loads` in any process that can import faultkit.  Raises whatever pickling raises."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(value)
    return stream.getvalue()


def dump_call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """The call as bytes.  Raises TransportError, naming the part that cannot travel, before anything starts."""
    if not callable(fn):
        raise TransportError(f"World.run: the function must be callable (got {_short(fn)})")
    try:
        return dumps((fn, args, kwargs))
    except Exception as error:
        part = _culprit(fn, args, kwargs)
        raise TransportError(
            f"World.run: {part} cannot travel to the ranks: {type(error).__name__}: {_safe_str(error)}; "
            "build it inside the function, or pass something that pickles"
        ) from None


def load_call(body: bytes) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The rank's side of `dump_call`.  Raises whatever importing the function's module raises."""
    return pickle.loads(body)


def encode_value(value: Any) -> tuple[str, Any]:
    try:
        return "value", dumps(value)
    except BaseException as error:
        return "untransportable", Untransportable(
            type_name=type(value).__qualname__,
            description=_short(value),
            reason=f"not picklable on the rank: {type(error).__name__}: {_safe_str(error)}",
        )


def encode_exception(exception: BaseException, record: ErrorRecord) -> tuple[bytes, bytes | None]:
    """(record, pickled exception or None where it does not pickle)."""
    body = None
    for dump in (pickle.dumps, dumps):  # the plain one is several times faster
        try:
            body = dump(exception)
            break
        except BaseException:
            continue
    return msgspec.msgpack.encode(record), body


def decode_outcome(message: tuple[str, Any]) -> Outcome:
    """The outcome in a rank's result message.  Never raises on what user code put into it."""
    kind, content = message
    if kind == "value":
        try:
            return Returned(pickle.loads(content))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            reason = f"not unpicklable here: {type(error).__name__}: {_safe_str(error)}"
            return Returned(Untransportable("unknown", _short(content), reason))
    if kind == "untransportable":
        return Returned(content)
    if kind == "exit":
        return Died(exitcode=content)
    encoded, body = content
    record = msgspec.msgpack.decode(encoded, type=ErrorRecord)
    return Raised(record, functools.partial(_revive, body, record.frames) if body is not None else None)


def _code_of_file(file: str, make: Callable[..., types.CodeType], *arguments: Any) -> types.CodeType:
    return make(*arguments).replace(co_filename=file)


def _reduce_code(code: types.CodeType) -> tuple[Any, ...]:
    make, arguments = cloudpickle.CloudPickler.dispatch_table[types.CodeType](code)
    return _code_of_file, (code.co_filename, make, *arguments)


class _Pickler(cloudpickle.CloudPickler):
    dispatch_table: ClassVar[Any] = ChainMap(
        {types.CodeType: _reduce_code}, cloudpickle.CloudPickler.dispatch_table
    )


def _revive(body: bytes, frames: tuple[Frame, ...]) -> BaseException | None:
    try:
        exception = pickle.loads(body)
        if not isinstance(exception, BaseException):
            return None
        return exception.with_traceback(tracebacks.revive(frames))
    except BaseException as error:  # whatever user code does while it is unpickled
        if isinstance(error, KeyboardInterrupt):
            raise
        return None


def _culprit(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    name = getattr(fn, "__qualname__", _short(fn))
    for index, value in enumerate(args):
        if not travels(value):
            return f"argument {index} ({_short(value)}) of {name}"
    for key, value in kwargs.items():
        if not travels(value):
            return f"argument '{key}' ({_short(value)}) of {name}"
    code = getattr(fn, "__code__", None)
    if code is not None:
        for variable, cell in zip(code.co_freevars, getattr(fn, "__closure__", None) or (), strict=False):
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            if not travels(value):
                return f"function {name}, because of its variable '{variable}' ({_short(value)}),"
        for variable in code.co_names:
            if variable in fn.__globals__ and not travels(fn.__globals__[variable]):
                value = fn.__globals__[variable]
                return f"function {name}, because of the global '{variable}' ({_short(value)}),"
    return f"function {name}"


def travels(value: Any) -> bool:
    """Whether `value` pickles."""
    try:
        dumps(value)
    except Exception:
        return False
    return True


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except BaseException:
        text = f"<{type(value).__qualname__} whose repr fails>"
    return text if len(text) <= 120 else text[:117] + "..."


def _safe_str(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        return "<unprintable>"
