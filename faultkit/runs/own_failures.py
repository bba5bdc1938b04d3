"""Whether an error that a rank met is faultkit's own: then no verdict follows, and the harness has failed.

The hooks on the engine, the stand-ins of simulated ranks and what surrounds a function on its rank run between the
frames of the code under test, and where they fail, their error leaves through the same frames.  `own_failure` tells
it by where it was raised: at a line of faultkit that does not raise, or by a call that does not fit what faultkit put
in torch's place.

It errs on the side of the code under test.  An error that a line of faultkit raises on purpose is one that it speaks
in torch's name, or injects; one that a call from a line of faultkit came back with may be of what was called, which is
the user's or the system's.  Left out, so: a wrong value that faultkit hands on, and a call of C with what it does not
take.  An error that the code under test swallows is told all the same where it was one of an attempt.
"""

from __future__ import annotations

import functools
import linecache
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from faultkit.own_frames import ROOT, STAND_INS, WORK

if TYPE_CHECKING:
    import ast

    from faultkit.runs.outcomes import ErrorRecord

__all__ = ["is_slip", "is_suspect", "own_failure"]

TORCH = os.sep + os.path.join("torch", "distributed") + os.sep

STANDING_IN = ("GroupCalls", "LaterWork", "SeveralWorks", "SimulatedGroup", "SimulatedStore", "SimulatedWork")

# Compiled where they are first used, of few runs: every rank imports this.
NOTHING = r"module '[\w.]+' has no attribute |'NoneType' object "
LACKING = r"(module|type object|) ?'[\w.]+' (object )?has no attribute |partially initialized module "
MISUSED = r"'NoneType' object |.*\b(is not subscriptable|unhashable type|unsupported operand|is not iterable|unpack)"
UNFIT = r"([\w.<>]+)\(\) (takes |got |missing )"
# What a line calls in passing, whose errors are not its own: the user's function, torch's, a name that the user gave.
PASSING = r"\b(call|function|fn|original|method|body|wait|loads|getattr|import_module|__get__)\("


def own_failure(error: ErrorRecord) -> str | None:
    """The error in one line, where it, or one that the engine gathered in it, is faultkit's own; None elsewhere."""
    for one in _all_of(error):
        if one.frames and _is_own(one):
            file, line, function = one.frames[-1]
            return f"{one.type_name}: {one.message} ({_short(file)}:{line} in {function})"
    return None


def is_suspect(error: BaseException) -> bool:
    """Whether it is worth a closer look: a line of faultkit raised it, or one that the engine gathered in it."""
    try:
        traceback, file = error.__traceback__, ""
        while traceback is not None:
            file, traceback = traceback.tb_frame.f_code.co_filename, traceback.tb_next
        if file.startswith(ROOT) or (isinstance(error, TypeError) and TORCH in file):
            return True
        failures = getattr(error, "_failures", None) or {}
        return any(_is_at_own_line(wrapped) for wrapped in failures.values())
    except Exception:
        return False


def is_slip(error: BaseException) -> bool:
    """Whether it was raised where a fault was to be performed, and not by the performing of it.  Reads no file."""
    if not isinstance(error, SLIPS):
        return False
    traceback, function = error.__traceback__, ""
    while traceback is not None:
        function, traceback = traceback.tb_frame.f_code.co_name, traceback.tb_next
    return function != "_raise"


def _is_at_own_line(wrapped: object) -> bool:
    _, summary = wrapped if isinstance(wrapped, tuple) and len(wrapped) == 2 else (None, ())
    file = summary[-1].filename if summary else ""
    return file.startswith(ROOT) or TORCH in file


def _all_of(error: ErrorRecord) -> Iterator[ErrorRecord]:
    yield error
    for inner in (*(error.failures or {}).values(), *error.members):
        yield from _all_of(inner)


def _is_own(error: ErrorRecord) -> bool:
    file, line, _ = error.frames[-1]
    source = linecache.getline(file, line).strip()
    if not file.startswith(ROOT):  # torch may have called what stands in its place as it does not take it
        unfit = re.match(UNFIT, error.message) if error.type_name == "TypeError" and TORCH in file else None
        return unfit is not None and unfit[1].startswith(STANDING_IN) and unfit[1] in _names_of(ROOT)
    statement = _statements(file).get(line, "")
    if statement == "raise" or file.startswith(WORK):
        return False
    if error.type_name in ("ImportError", "ModuleNotFoundError"):
        return statement == "import"
    if error.type_name == "AssertionError":
        return statement == "assert"
    if error.type_name in ("NameError", "UnboundLocalError"):
        return True
    if re.search(PASSING, source):
        return False
    if error.type_name == "TypeError" and (unfit := re.match(UNFIT, error.message)):
        return unfit[1] in _names_of(ROOT) and unfit[1].rpartition(".")[2] in source
    if file.startswith(STAND_INS):
        return error.type_name in ("AttributeError", "TypeError") and bool(re.match(NOTHING, error.message))
    if error.type_name == "AttributeError":
        return bool(re.match(LACKING, error.message))
    if error.type_name == "TypeError":
        return bool(re.match(MISUSED, error.message))
    return error.type_name in ("KeyError", "IndexError")


SLIPS = (AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError)
KINDS = {"Raise": "raise", "Assert": "assert", "Import": "import", "ImportFrom": "import"}


@functools.cache
def _statements(file: str) -> dict[int, str]:
    """What stands at the lines of a file that raise, assert or import."""
    import ast  # which takes a rank longer to import than the rest of this file

    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    return {
        line: KINDS[type(node).__name__]
        for node in ast.walk(tree)
        if type(node).__name__ in KINDS
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)  # type: ignore[attr-defined]
    }


@functools.cache
def _names_of(root: str) -> frozenset[str]:
    """The qualified names of all functions of faultkit."""
    import ast

    found: set[str] = set()
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(".py"):
                tree = ast.parse("".join(linecache.getlines(os.path.join(folder, name))))
                found.update(_qualified(tree, ""))
    return frozenset(found)


def _qualified(node: ast.AST, prefix: str) -> Iterator[str]:
    import ast

    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _qualified(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{child.name}"
            yield from _qualified(child, f"{prefix}{child.name}.<locals>.")


def _short(file: str) -> str:
    return (
        os.path.join(os.path.basename(ROOT.rstrip(os.sep)), file.removeprefix(ROOT))
        if file.startswith(ROOT)
        else file
    )
