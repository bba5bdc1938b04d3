"""Faults in the methods of live objects, while type, attributes and pickles of the object stay as they were.

For each planned point the class attribute at the innermost implementation (see `faultkit.injection.reach`) is
replaced while armed by a function that passes every call through, except for objects that the engine was
handed: for those it counts the call and lets the session act.  So faults come from beneath your override,
whose own ``try`` around ``super().write_data(...)`` meets them, and nothing is added to the object: it
pickles, copies and compares as before, and its methods keep their signatures.  Objects of a watched interface
(`Interposer.watch`) are met at their first call as well, where nobody hands them over: other engines drive writers
and readers by themselves.  Only where the method is found on the instance and on no class (a duck-typed proxy, a
replaced attribute) is the instance attribute wrapped, by a callable that pickles as the plain method.

Calls of file systems, whose streams are faulted as well, are made in `faultkit.injection.files.streams`.  Left
out: slots, properties, and methods that are looked up past the instance by C code.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import MethodType
from typing import Any

from faultkit.injection.futures import fault_future
from faultkit.injection.reach import innermost
from faultkit.injection.session import Calls, Session
from faultkit.interception.patches import Patches
from faultkit.runs import own_failures

__all__ = ["Interposer", "call_with_faults", "coroutine_with_faults"]


def call_with_faults(
    session: Session,
    points: tuple[str, ...],
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """``call(*args, **kwargs)`` as one entry of `points`, with what the plan does before, after and in it."""
    if points[0].startswith("fs."):
        from faultkit.injection.files.streams import call_file_system

        return call_file_system(session, points[0][3:], call, args, kwargs)
    calls = session.enter(points)
    if not calls:
        return call(*args, **kwargs)
    _act(session, calls, "before")
    try:
        with session.threads.inside(points[0]):
            result = call(*args, **kwargs)
    except BaseException:
        session.record_return(calls, False)
        raise
    session.record_return(calls, True)
    result = fault_future(session, calls, result, _change_of(session, calls))
    _act(session, calls, "after")
    return result


async def coroutine_with_faults(
    session: Session,
    points: tuple[str, ...],
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """``await call(*args, **kwargs)`` as one entry of `points`, with what the plan does before and after it."""
    calls = session.enter(points)
    _act(session, calls, "before")
    try:
        result = await call(*args, **kwargs)
    except BaseException:
        session.record_return(calls, False)
        raise
    session.record_return(calls, True)
    change = _change_of(session, calls)
    result = result if change is None else change(result)
    _act(session, calls, "after")
    return result


def _change_of(session: Session, calls: Calls) -> Callable[[Any], Any] | None:
    if not session.planned.alters_value:
        return None
    from faultkit.injection.values import change_of

    return change_of(session, calls)


def _act(session: Session, calls: Calls, moment: str) -> None:
    try:
        session.fire_all(calls, moment)
    except BaseException as injected:
        if own_failures.is_slip(injected):
            session.suspect(injected)
            raise
        # without the frames of the injection: the engine formats every frame of an error, several times over
        raise injected.with_traceback(None)  # noqa: B904


class _InstanceWrapper:
    """A method in the namespace of one instance; pickles as the method that it wraps."""

    def __init__(self, session: Session, points: tuple[str, ...], method: Any) -> None:
        self._session, self._points = session, points
        functools.update_wrapper(self, method, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return call_with_faults(self._session, self._points, self.__wrapped__, args, kwargs)  # type: ignore[attr-defined]

    def __reduce__(self) -> Any:
        return _itself, (self.__wrapped__,)  # type: ignore[attr-defined]


def _itself(method: Any) -> Any:
    return method


class _Known:
    """An object that faults enter: per method, the class where, and the points that the call counts for."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference
        self.is_handed_over = (
            True  # by the engine; else it was met by chance, and counts where no other call does
        )
        self.layers: set[str] = set()
        self.entries: dict[str, tuple[type, tuple[str, ...]]] = {}


class Interposer:
    """Interposes objects and classes for one session; everything it changes goes through `patches`."""

    def __init__(self, session: Session, patches: Patches) -> None:
        self._session = session
        self._patches = patches
        self._lock = threading.RLock()
        self._known: dict[int, _Known] = {}
        self._known_classes: dict[type, tuple[str, ...]] = {}
        self._patched: set[tuple[type, str]] = set()
        self._owners: dict[tuple[Any, str], type | None] = {}
        self._thread = threading.local()
        self._watched: dict[type, Callable[[Any], None]] = {}
        self._is_busy: Callable[[], bool] = bool

    def watch(
        self,
        interface: type,
        layers: tuple[str, ...],
        adopt: Callable[[Any], None],
        is_busy: Callable[[], bool],
    ) -> None:
        """Attach every instance of a class of `interface` at its first call, by `adopt`.

        Save while `is_busy`, and within a call of the same point: there the objects count that are handed over.
        Classes that are defined from now on are met, too.
        """
        names = sorted({name for layer in layers for name in self._session.planned.methods(layer)})
        if not names or self._session.closed:
            return
        self._watched[interface], self._is_busy = adopt, is_busy
        waiting = [interface]
        while waiting:
            cls = waiting.pop()
            waiting += cls.__subclasses__()
            self._meet_class(cls, names)
        meet = functools.partial(self._meet_class, names=names)

        def met(cls: type, /, **kwargs: Any) -> None:
            super(interface, cls).__init_subclass__(**kwargs)  # type: ignore[arg-type]
            meet(cls)

        self._patches.set_attribute(interface, "__init_subclass__", classmethod(met))

    def _innermost(self, cls: type, name: str) -> type | None:
        if (cls, name) not in self._owners:
            self._owners[cls, name] = innermost(cls, name)
        return self._owners[cls, name]

    def _meet_class(self, cls: type, names: list[str]) -> None:
        if getattr(cls, "__faultkit_own__", False):
            return  # it carries out plans by itself
        with self._lock:
            for name in names:
                owner = self._innermost(cls, name)
                if owner is not None and not getattr(vars(owner)[name], "__isabstractmethod__", False):
                    self._patch(owner, name)

    def attach(self, instance: Any, layers: Iterable[str], *, is_handed_over: bool = True) -> None:
        """From now on faults of `layers` enter the methods of `instance`.  May be repeated."""
        with self._lock:
            if self._session.closed:
                return
            known = self._known.get(id(instance))
            if known is None or known.reference() is not instance:
                known = self._known[id(instance)] = _Known(self._reference(instance))
                known.is_handed_over = is_handed_over
            known.is_handed_over = known.is_handed_over or is_handed_over
            for layer in layers:
                if layer not in known.layers:
                    known.layers.add(layer)
                    for name in self._session.planned.methods(layer):
                        self._attach_method(known, instance, layer, name)

    @contextlib.contextmanager
    def adopting(self, classes: dict[type, tuple[str, ...]], adopt: Callable[[Any], None]) -> Iterator[None]:
        """Meanwhile, on this thread: attach instances of `classes` (with their layers) on their first call.

        That is for objects which the engine creates and uses before anybody can see them.  The calls noticed
        are those of planned points; `adopt` is called with the instance.
        """
        with self._lock:
            for cls, layers in classes.items() if not self._session.closed else ():
                for name in {name for layer in layers for name in self._session.planned.methods(layer)}:
                    owner = self._innermost(cls, name)
                    if owner is not None:
                        self._patch(owner, name)
        stack = self._thread.__dict__.setdefault("adopting", [])
        stack.append((classes, adopt))
        try:
            yield
        finally:
            stack.pop()

    def _attach_method(self, known: _Known, instance: Any, layer: str, name: str) -> None:
        point = f"{layer}.{name}"
        on_instance = name in getattr(instance, "__dict__", {})
        owner = None if on_instance else self._innermost(type(instance), name)
        if owner is not None:
            before = known.entries.get(name, (owner, ()))[1]
            known.entries[name] = (owner, (*before, point))
            self._known_classes[type(instance)] = tuple({*self._known_classes.get(type(instance), ()), layer})
            self._patch(owner, name)
            return
        method = getattr(instance, name, None)
        if isinstance(method, _InstanceWrapper) and method._session is self._session:
            method._points = (*method._points, point)
        elif callable(method) and hasattr(instance, "__dict__"):
            wrapper = _InstanceWrapper(self._session, (point,), method)
            self._patches.set_in_instance(instance, name, wrapper)

    def _patch(self, owner: type, name: str) -> None:
        if (owner, name) in self._patched:
            return
        self._patched.add((owner, name))
        original = vars(owner)[name]
        replacement: Any
        if isinstance(original, classmethod):
            replacement = classmethod(self._class_entry(name, original))
        elif isinstance(original, staticmethod):
            return  # whose call it is cannot be told
        else:
            replacement = self._entry(owner, name, original)
        self._patches.set_attribute(owner, name, replacement)

    def _entry(self, owner: type, name: str, original: Any) -> Callable[..., Any]:
        points_of, session = self._points_of, self._session

        @functools.wraps(original)
        def entered(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            points = points_of(self, owner, name)
            call = original.__get__(self, type(self))
            return call_with_faults(session, points, call, args, kwargs) if points else call(*args, **kwargs)

        return entered

    def _class_entry(self, name: str, original: Any) -> Callable[..., Any]:
        session = self._session

        @functools.wraps(original.__func__)
        def entered(cls: type, /, *args: Any, **kwargs: Any) -> Any:
            call = MethodType(original.__func__, cls)
            layers = next((self._known_classes[c] for c in cls.__mro__ if c in self._known_classes), None)
            for classes, _ in reversed(getattr(self._thread, "adopting", ())) if layers is None else ():
                layers = layers or classes.get(cls)
            points = tuple(f"{layer}.{name}" for layer in layers or ())
            return call_with_faults(session, points, call, args, kwargs) if points else call(*args, **kwargs)

        return entered

    def _points_of(self, instance: Any, owner: type, name: str) -> tuple[str, ...]:
        known = self._known.get(id(instance))
        if known is None or known.reference() is not instance:
            known = self._adopted(instance)
            if known is None:
                return ()
        if not known.is_handed_over and self._is_busy():
            return ()
        entry = known.entries.get(name)
        if (
            not known.is_handed_over
            and entry is not None
            and any(map(self._session.threads.is_inside, entry[1]))
        ):
            return ()
        return entry[1] if entry is not None and entry[0] is owner else ()

    def _adopted(self, instance: Any) -> _Known | None:
        for classes, adopt in reversed(getattr(self._thread, "adopting", ())):
            if type(instance) in classes:
                adopt(instance)
                return self._known.get(id(instance))
        for interface, adopt in self._watched.items():
            if isinstance(instance, interface) and not self._is_busy():
                adopt(instance)
                return self._known.get(id(instance))
        return None

    def _reference(self, instance: Any) -> Callable[[], Any]:
        key = id(instance)

        def forget(_: Any) -> None:
            known = self._known.get(key)
            if known is not None and known.reference() is None:
                del self._known[key]

        try:
            return weakref.ref(instance, forget)
        except TypeError:
            return lambda: instance  # kept alive until disarmed, so that its id is not given to another
