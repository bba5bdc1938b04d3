"""Exceptions that break the code which carries them: `faultkit.hostile`, for plans and for plain tests.

An engine that tells every rank about an error has to print it, pickle it and rebuild it elsewhere, and
exceptions of real programs refuse each of these.  Every class here is made from one message, its token, and
is named in a plan without an allow list: ``raise(faultkit.hostile:HoldsLock, "token-1")``.

    Chained, InContext      have a cause or a context, which pickling drops
    Noted, Grouped          carry notes; are a group within a group
    NeedsMore, WrongShape   pickle and do not unpickle: their arguments are not those of their constructor
    HoldsLock, HoldsSocket, HoldsGenerator     do not pickle
    Unprintable, Unreducible                   raise from ``__str__``; from ``__reduce__``
    Huge                    has a megabyte of message
    CancelledError, CheckpointException, Empty, InvalidStateError     those of asyncio, torch, queue, asyncio

Importing this module imports neither torch nor asyncio; the borrowed types are looked up when first named.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any

__all__ = [
    "BORROWED",
    "NAMES",
    "Chained",
    "Grouped",
    "HoldsGenerator",
    "HoldsLock",
    "HoldsSocket",
    "Huge",
    "InContext",
    "NeedsMore",
    "Noted",
    "Unprintable",
    "Unreducible",
    "WrongShape",
]

HUGE_CHARACTERS = 1_000_000

BORROWED = {
    "CancelledError": "asyncio",
    "CheckpointException": "torch.distributed.checkpoint.api",
    "Empty": "queue",
    "InvalidStateError": "asyncio",
}


def _bare(kind: type[BaseException], arguments: tuple[Any, ...]) -> BaseException:
    # What pickling leaves of an exception: its class and arguments, without what the constructor hung on it.
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    return error


class Chained(RuntimeError):
    """Raised from an OSError, as by ``raise ... from``."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.__cause__ = OSError(5, f"the cause of {message}")

    def __reduce__(self) -> Any:
        return _bare, (type(self), self.args)


class InContext(RuntimeError):
    """Raised while a KeyError was being handled."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.__context__ = KeyError(f"the context of {message}")

    def __reduce__(self) -> Any:
        return _bare, (type(self), self.args)


class Noted(ValueError):
    """Carries two notes, one of them of several lines."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.add_note(f"a note on {message}")
        self.add_note("a note\nof two lines")


class Grouped(ExceptionGroup):
    """A group that holds an error, and a group with another one; `message` is in all of them."""

    def __new__(cls, message: str = "", members: Any = None) -> Grouped:
        made = [ValueError(message), ExceptionGroup(message, [OSError(28, message)])]
        return super().__new__(cls, message, made)

    def __reduce__(self) -> Any:
        return type(self), (self.message,)


class NeedsMore(ValueError):
    """Pickles, but its constructor does not take the two arguments that it hands to its base."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, "code")

    def __str__(self) -> str:
        return str(self.args[0])


class WrongShape(OSError):
    """Pickles, but rebuilding it calls something that raises."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)

    def __reduce__(self) -> Any:
        return _refuse_to_rebuild, (self.args[0],)


def _refuse_to_rebuild(message: str) -> BaseException:
    raise LookupError(f"cannot rebuild the error of {message}")


class HoldsLock(RuntimeError):
    """Holds a lock, which does not pickle."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class HoldsSocket(ConnectionError):
    """Holds a socket, which does not pickle; it is closed, so that none is left open."""

    def __init__(self, message: str = "") -> None:
        import socket

        super().__init__(message)
        self.socket = socket.socket()
        self.socket.close()


class HoldsGenerator(RuntimeError):
    """Holds a generator, which does not pickle."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.pending = (character for character in message)


class Unprintable(ValueError):
    """Raises from ``__str__`` and from ``__repr__``."""

    def __str__(self) -> str:
        raise RuntimeError("this error cannot be printed")

    __repr__ = __str__


class Unreducible(ValueError):
    """Raises from ``__reduce__``, with an error that no pickler expects."""

    def __reduce__(self) -> Any:
        raise ZeroDivisionError("this error cannot be reduced")


class Huge(ValueError):
    """Its text is its message and a megabyte more."""

    def __init__(self, message: str = "") -> None:
        filled = len(message) >= HUGE_CHARACTERS
        super().__init__(message if filled else f"{message} {'x' * HUGE_CHARACTERS}")


_OWN = (value for value in list(globals().values()) if isinstance(value, type))
NAMES = tuple(sorted({*BORROWED, *(kind.__name__ for kind in _OWN if kind.__module__ == __name__)}))


def __getattr__(name: str) -> Any:
    if name in BORROWED:
        return getattr(importlib.import_module(BORROWED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
