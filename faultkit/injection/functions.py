"""Faults in functions by name: torch.save and its like, and any function or method of the user's (layer call).

Guarantees: while a plan is armed the function is replaced wherever a loaded module holds it, or in its class, by one
that passes every call through after the plan had its say; coroutine functions are awaited between the moments
before and after.  A module that is not loaded yet is hooked as soon as the run imports it; the plan itself imports
nothing.  Each hook is recorded, so that who asks why a fault was silent can tell an unloaded module from a function
that was not called.  Where faults of files cannot reach native code (`faultkit.injection.files.native`), a file that
torch.save or safetensors write there is told for each fault that means it.  What a module keeps of a replaced function
afterwards calls the original.

Not covered: properties, functions that a closure, a container or another function's defaults hold, and classes.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

from faultkit.exceptions import PlanError
from faultkit.injection.files import native
from faultkit.injection.interpose import call_with_faults, coroutine_with_faults
from faultkit.injection.session import Session
from faultkit.injection.session_parts.armed import current
from faultkit.interception.patches import Patches
from faultkit.plan.named_points import CALL, FUNCTIONS, member, read_call

__all__ = ["install"]

_IN_NATIVE_CODE = {  # where native code works on the file, and which argument is its path
    "torch.save": (1, "f"),
    "safetensors.save_file": (1, "filename"),
    "safetensors.load_file": (0, "filename"),
}


def install(session: Session, patches: Patches) -> None:
    """Hook the functions that are points of the session's plan; `patches` undoes it."""
    waiting: dict[str, list[tuple[str, str]]] = {}
    watched = _IN_NATIVE_CODE if session.planned.of_files and session.native is None else ()
    for point in sorted({*session.planned.points, *watched}):
        module, name = _place_of(point)
        if not module:
            continue
        if module in sys.modules:
            _hook(session, patches, point, sys.modules[module], name)
        else:
            waiting.setdefault(module, []).append((point, name))
    if waiting:
        finder = _Arrivals(session, patches, waiting)
        sys.meta_path.insert(0, finder)
        patches.set_up(finder.leave)


def _place_of(point: str) -> tuple[str, str]:
    if point in FUNCTIONS:
        return FUNCTIONS[point].module, FUNCTIONS[point].name
    return read_call(point) if point.startswith(f"{CALL}.") else ("", "")


def _hook(session: Session, patches: Patches, point: str, module: ModuleType, name: str) -> None:
    try:
        owner, last, found = member(module, name)
    except PlanError as error:
        for index, fault in enumerate(session.plan):
            if fault.point == point:
                session.record("refused", fault=index, point=point, path="", why=str(error))
        return
    original = found.__func__ if isinstance(found, staticmethod | classmethod) else found
    hooked = _hooked(original)
    hooked.__faultkit_points__.add(point)
    if isinstance(owner, ModuleType):
        for holder, held_as in _holders(original):
            if vars(holder).get(held_as) is original:
                patches.set_attribute(holder, held_as, hooked)
    elif hooked is not original:
        kind = type(found) if isinstance(found, staticmethod | classmethod) else None
        patches.set_attribute(owner, last, hooked if kind is None else kind(hooked))
    if point in session.planned.points:
        session.record("hooked", point=point)


def _holders(original: Any) -> list[tuple[ModuleType, str]]:
    """Every module that holds the function, and under which name; looked for again when modules were loaded since."""
    modules = list(sys.modules.values())
    count, found = _held.get(id(original), (0, []))
    if count != len(modules):
        found = [
            (holder, name)
            for holder in modules
            if isinstance(holder, ModuleType)
            for name, value in list(vars(holder).items())
            if value is original
        ]
        _held[id(original)] = len(modules), found
    return found


_held: dict[int, tuple[int, list[tuple[ModuleType, str]]]] = {}
_known: dict[int, Any] = {}  # by the number of the original, which the hook keeps alive


def _hooked(original: Any) -> Any:
    """What stands in for `original`, always the same; itself where it stands in for another already."""
    if hasattr(original, "__faultkit_points__"):
        return original
    made = _known.get(id(original))
    if made is None:
        make = _coroutine_hook if inspect.iscoroutinefunction(original) else _plain_hook
        made = _known[id(original)] = make(original)
    return made


def _tell_of_file(session: Session, points: set[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Record of each fault that means the file of the call, and cannot reach it, that it was come by."""
    name = min(_IN_NATIVE_CODE.keys() & points)
    place, keyword = _IN_NATIVE_CODE[name]
    given = args[place] if len(args) > place else kwargs.get(keyword)
    path = os.path.abspath(os.fsdecode(given)) if isinstance(given, str | os.PathLike) else ""
    for index in session.planned.of_files if path else ():
        fault = session.plan.faults[index]
        if index in session.told or not fault.matches_path(path):
            continue
        session.told.add(index)
        where, other = _why_not_reached(session)
        why = (
            f"a native writer made that file, which faults of files do not reach {where}; {other}, and "
            f"'{name}' is a point everywhere"
        )
        session.record("refused", fault=index, point=fault.point, path=path, why=why)


def _why_not_reached(session: Session) -> tuple[str, str]:
    """Where faults of files do not reach native code, and what to do."""
    if session.memory is None:
        return "on simulated ranks", "other worlds reach it"
    if native.loaded() is None:
        return "without a C compiler", "install one, or name it in CC"
    return "in a plan of so many faults", "plan fewer"


def _planned(points: set[str]) -> tuple[Session | None, tuple[str, ...]]:
    session = current()
    return session, () if session is None else tuple(sorted(points.intersection(session.planned.points)))


def _plain_hook(original: Callable[..., Any]) -> Any:
    points: set[str] = set()

    def entered(*args: Any, **kwargs: Any) -> Any:
        session, planned = _planned(points)
        if (
            session is not None
            and session.planned.of_files
            and session.native is None
            and points & _IN_NATIVE_CODE.keys()
        ):
            _tell_of_file(session, points, args, kwargs)
        if session is None or not planned:
            return original(*args, **kwargs)
        return call_with_faults(session, planned, original, args, kwargs)

    return _dressed(entered, original, points)


def _coroutine_hook(original: Callable[..., Any]) -> Any:
    points: set[str] = set()

    async def entered(*args: Any, **kwargs: Any) -> Any:
        session, planned = _planned(points)
        if session is None or not planned:
            return await original(*args, **kwargs)
        return await coroutine_with_faults(session, planned, original, args, kwargs)

    return _dressed(entered, original, points)


def _dressed(entered: Any, original: Callable[..., Any], points: set[str]) -> Any:
    functools.update_wrapper(entered, original)
    if isinstance(original, FunctionType):
        entered.__defaults__, entered.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
    entered.__faultkit_points__ = points
    return entered


class _Arrivals:
    """Stands first among the finders, and hooks what is waited for once its module has been run."""

    def __init__(self, session: Session, patches: Patches, waiting: dict[str, list[tuple[str, str]]]) -> None:
        self._session, self._patches, self._waiting = session, patches, waiting

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._waiting:
            return None
        points = self._waiting.pop(name)
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None and finder is not self else None
            if spec is not None and spec.loader is not None:
                self._await(spec.loader, points)
                return spec
        return None

    def _await(self, loader: Any, points: list[tuple[str, str]]) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if not self._session.closed:
                for point, name in points:
                    _hook(self._session, self._patches, point, module, name)

        loader.exec_module = exec_module

    def leave(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
