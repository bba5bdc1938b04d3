"""The rank's side of an ``spmd`` test: the body, run the way pytest would run it here.

Guarantees: a failed assert shows the difference of its two sides as it does in the controller, by pytest's own
comparison, cut to the same length; the rank has no pytest session, so what a suite adds with the hook
``pytest_assertrepr_compare`` is left out.  The fixture ``monkeypatch`` is one of the rank's own, undone when
the body ends.  A value that the body returns stays on the rank; only its type is told.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Body", "comparisons", "finished"]

LINES_MAX, CHARACTERS_MAX = 8, 640  # as pytest shows without -vv
FOOTER_LINES, FOOTER_CHARACTERS = 2, 80  # what it puts below, and is no reason to cut


class Body:
    """A call of `function` with `values`; `verbosity` is that of asserts in the controller.

    Returns the `repr` of the type of what the function returns, None where that is None.
    """

    def __init__(
        self, function: Callable[..., Any], values: dict[str, Any], verbosity: int, has_monkeypatch: bool
    ) -> None:
        # The world loads the module that its function says into the server, once for all ranks.
        self.__module__, self.__qualname__ = function.__module__, function.__qualname__
        self.function, self.values = function, values
        self.verbosity, self.has_monkeypatch = verbosity, has_monkeypatch

    def __call__(self) -> str | None:
        with comparisons(self.verbosity):
            if self.has_monkeypatch:
                import pytest

                with pytest.MonkeyPatch.context() as monkeypatch:
                    result = self.function(monkeypatch=monkeypatch, **self.values)
            else:
                result = self.function(**self.values)
        result = finished(result, self.__qualname__)
        return None if result is None else repr(type(result))


def finished(result: Any, name: str) -> Any:
    """`result`.  Raises TypeError where it is work that is still to be done, so that the body `name` did none."""
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        if hasattr(result, "close"):
            result.close()  # else Python itself warns that nobody awaited it
        raise TypeError(
            f"the body of an spmd test must run when it is called, and {name} returned a "
            f"{type(result).__name__}, which nobody runs"
        )
    return result


@contextlib.contextmanager
def comparisons(verbosity: int) -> Iterator[None]:
    """Meanwhile a failed assert shows how its two sides differ, as in a session with this `verbosity`."""
    util = sys.modules.get("_pytest.assertion.util")
    if util is None or getattr(util, "_reprcompare", None) is not None:
        # no assert is rewritten here, or this is the process of a session
        yield
        return
    util._reprcompare = lambda op, left, right: _compared(op, left, right, verbosity)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        util._reprcompare = None  # type: ignore[attr-defined]


class _Config:
    """As much of a `pytest.Config` as comparing asks for."""

    class pluginmanager:
        @staticmethod
        def has_plugin(name: str) -> bool:
            return False

    def __init__(self, verbosity: int) -> None:
        self.verbosity = verbosity

    def get_verbosity(self, kind: str | None = None) -> int:
        return self.verbosity

    def getini(self, name: str) -> Any:
        return {"assertion_text_diff_style": "ndiff"}.get(name)  # None: pytest's own default

    def get_terminal_writer(self) -> Any:
        from _pytest._io import TerminalWriter

        writer = TerminalWriter(io.StringIO())
        writer.hasmarkup = False
        return writer


def _compared(op: str, left: object, right: object, verbosity: int) -> str | None:
    """What the rewritten assert shows of the comparison, in the form that it expects; None: nothing more."""
    try:
        from _pytest.assertion import pytest_assertrepr_compare

        config: Any = _Config(verbosity)
        lines = pytest_assertrepr_compare(config=config, op=op, left=left, right=right)
    except Exception:
        return None  # the assert then shows its two sides alone
    if not lines:
        return None
    if verbosity < 2 and not any(os.environ.get(name) for name in ("CI", "BUILD_NUMBER")):
        lines = _cut(lines)
    return "\n~".join(line.replace("\n", "\\n") for line in lines).replace("%", "%%")


def _cut(lines: list[str]) -> list[str]:
    # Newer versions of pytest have cut them already, older ones leave that to a hook of the session.
    is_short = sum(map(len, lines)) <= CHARACTERS_MAX + FOOTER_CHARACTERS
    if is_short and len(lines) <= LINES_MAX + FOOTER_LINES:
        return lines
    kept: list[str] = []
    left_characters = CHARACTERS_MAX
    for line in lines[:LINES_MAX]:
        if left_characters <= 0:
            break
        kept.append(line if len(line) <= left_characters else line[:left_characters] + "...")
        left_characters -= len(line)
    return [*kept, "", "...Full output truncated, use '-vv' to show"]
