"""Errors that the function under test says it expects: it records each that `assertRaises` or `pytest.raises` caught.

A test body that has a writer fail on purpose, and asserts that the save raises, is no work that failed.  Only what
is said so is taken for expected: an error that a plain ``except`` swallows may be the defect that is looked for.

Not covered: other libraries of assertions, and contexts that were entered before the run.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from faultkit.injection.errors import describe
from faultkit.injection.session import Session
from faultkit.interception.patches import Patches

__all__ = ["MESSAGE_LENGTH_MAX", "install"]

MESSAGE_LENGTH_MAX = 2_000
_CONTEXTS = {  # by module: the classes whose __exit__ says whether the error was expected
    "unittest.case": ("_AssertRaisesContext",),
    "_pytest.raises": ("RaisesExc", "RaisesGroup"),
    "_pytest.python_api": ("RaisesContext",),  # before pytest 8.4
}


def install(session: Session, patches: Patches) -> None:
    """Record for `session` what is expected; `patches` undoes it.  Nothing is imported for it."""
    for kind in dict.fromkeys(_classes()):
        patches.set_attribute(kind, "__exit__", _recording(session, vars(kind)["__exit__"]))


def _classes() -> Iterator[type]:
    for module, names in _CONTEXTS.items():
        for name in names:
            kind = getattr(sys.modules.get(module), name, None)
            if isinstance(kind, type) and "__exit__" in vars(kind):
                yield kind


def _recording(session: Session, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def leave(self: Any, kind: Any, error: Any, traceback: Any) -> Any:
        __tracebackhide__ = True
        is_expected = original(self, kind, error, traceback)
        if is_expected and isinstance(error, BaseException) and not session.closed:
            record = describe(error, tracebacks=False, message_length_max=MESSAGE_LENGTH_MAX)
            session.record("expected", error=msgspec.to_builtins(record))
        return is_expected

    return leave
