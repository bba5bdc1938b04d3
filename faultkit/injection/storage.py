"""Storage objects that fail by plan: `FaultyStorageWriter` and `FaultyStorageReader`.

Both are real storage objects of the engine and work anywhere, with or without a world, also in a unit test
without a process group.  With `inner` they stand in its place: every attribute is read and set there,
``isinstance(faulty, type(inner))`` holds, methods keep their signatures, and each call goes through after the
plan had its say.  Without `inner` a writer stores nothing and a reader reads nothing, successfully.

Every public method of the installed torch's interface is a point, also one that a later torch adds.  Only the
faults of layers ``writer`` or ``reader``, and ``storage``, are carried out here.  In a process that is armed
with an equal plan, calls are counted and recorded there, once; else the object has counters of its own, its
rank is that of the process group (0 where there is none), and `fired` tells what fired.  Both pickle, with
plan and inner and with counters at zero.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from types import MethodType
from typing import Any, ClassVar

from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.staging import AsyncStager
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter
from torch.futures import Future

from faultkit.injection.carried import OWN, Carried
from faultkit.injection.derive import metadata_of, metadata_of_current_load
from faultkit.injection.interpose import call_with_faults
from faultkit.injection.perform import prepare
from faultkit.injection.session import Session
from faultkit.injection.session_parts.armed import current
from faultkit.plan import FaultPlan

__all__ = ["Faulty", "FaultyStorageReader", "FaultyStorageWriter"]


class _Point:
    """A descriptor: one method of a faulty object, the inner's or else one that does nothing."""

    def __init__(self, layer: str, name: str, of_interface: Any) -> None:
        self.points = (f"{layer}.{name}", f"storage.{name}")
        self.name = name
        self.on_class = isinstance(of_interface, classmethod)
        function = of_interface.__func__ if self.on_class else of_interface
        nothing = _NOTHING.get(name, _no_result)

        @functools.wraps(function)
        def default(self: Any, *args: Any, **kwargs: Any) -> Any:
            return nothing(self, *args, **kwargs)

        @functools.wraps(function)
        def unbound(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
            return self.__get__(instance, type(instance))(*args, **kwargs)

        for made in (default, unbound):
            made.__dict__.pop("__isabstractmethod__", None)
        self.default, self.unbound = default, unbound

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return MethodType(self.default, owner) if self.on_class else self.unbound
        inner = _state(instance).inner
        method = MethodType(self.default, instance) if inner is None else getattr(inner, self.name)
        return _BoundPoint(instance, self, method)


class _BoundPoint:
    def __init__(self, instance: Any, point: _Point, method: Any) -> None:
        self.__self__ = instance
        self.__wrapped__ = method
        self._point = point

    # What `functools.update_wrapper` would copy, looked up where somebody asks: one is made for each call.
    __doc__ = property(lambda self: self.__wrapped__.__doc__)
    __module__ = property(lambda self: self.__wrapped__.__module__)

    def __getattr__(self, name: str) -> Any:
        if name in ("__name__", "__qualname__"):
            return getattr(self.__wrapped__, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        state = _state(self.__self__)
        session = state.session_now()
        if self._point.name.startswith("set_up_storage_"):
            values = [*args, kwargs.get("is_coordinator")]
            state.learn_coordinator(next((value for value in values if isinstance(value, bool)), None))
        call = self.__wrapped__
        armed = current()
        if state.inner is None and armed is not None and armed is not session:
            # It stands for no other object that the armed plan could be shown, so both plans meet here.
            call = functools.partial(_call_with_faults_of, armed, self._point.points, call)
        return call_with_faults(session, self._point.points, call, args, kwargs)

    def __reduce__(self) -> Any:
        return getattr, (self.__self__, self._point.name)


def _call_with_faults_of(
    session: Session, points: tuple[str, ...], call: Any, *args: Any, **kwargs: Any
) -> Any:
    return call_with_faults(session, points, call, args, kwargs)


def _state(instance: Any) -> Carried:
    state: Carried = object.__getattribute__(instance, "__dict__")[OWN]
    return state


class Faulty:
    """What faulty storage objects share: attributes go to the inner object, methods of the interface fail.

    A subclass names the interface, whose public methods become points, and the layer of their faults.
    """

    _layer: ClassVar[str] = ""
    __faultkit_own__ = True

    def __init_subclass__(
        cls, *, interface: type | None = None, layer: str | None = None, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if layer is not None:
            cls._layer = layer
        for name in dir(interface) if interface is not None else ():
            of_interface = inspect.getattr_static(interface, name)
            function = getattr(of_interface, "__func__", of_interface)
            if not name.startswith("_") and inspect.isfunction(function) and name not in vars(cls):
                setattr(cls, name, _Point(cls._layer, name, of_interface))

    @property
    def plan(self) -> FaultPlan:
        """The plan that this object carries out."""
        return _state(self).plan

    @property
    def inner(self) -> Any:
        """The storage object that this one stands for, None where it stands for none."""
        return _state(self).inner

    @property
    def fired(self) -> tuple[dict[str, Any], ...]:
        """What fired here, in order: fault (index in the plan), point, moment, call, step."""
        state = _state(self)
        return (*state.session.fired, *(state.armed.fired if state.armed is not None else ()))

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        state = object.__getattribute__(self, "__dict__").get(OWN)
        return type(self) if state is None or state.inner is None else state.inner.__class__

    def __getattr__(self, name: str) -> Any:
        state = object.__getattribute__(self, "__dict__").get(OWN)
        if state is None or state.inner is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
            )
        return getattr(state.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        state = object.__getattribute__(self, "__dict__").get(OWN)
        if state is None or state.inner is None:
            object.__setattr__(self, name, value)
        else:
            setattr(state.inner, name, value)

    def __delattr__(self, name: str) -> None:
        state = object.__getattribute__(self, "__dict__").get(OWN)
        if state is None or state.inner is None:
            object.__delattr__(self, name)
        else:
            delattr(state.inner, name)

    def __dir__(self) -> list[str]:
        inner = _state(self).inner
        return sorted({*dir(type(self)), *(() if inner is None else dir(inner))})

    def __repr__(self) -> str:
        state = _state(self)
        inner = "" if state.inner is None else f", {state.inner!r}"
        return f"{type(self).__name__}({str(state.plan)!r}{inner})"

    def __reduce__(self) -> Any:
        state = _state(self)
        own = {
            name: value for name, value in object.__getattribute__(self, "__dict__").items() if name != OWN
        }
        extra = own if state.inner is None and own else None
        return _rebuild, (type(self), state.plan, state.inner, state.metadata), extra


def _equip(instance: Any, plan: FaultPlan | str, inner: Any, metadata: Any = None) -> None:
    if isinstance(plan, str):
        plan = FaultPlan.parse(plan)
    if not isinstance(plan, FaultPlan):
        raise TypeError(
            f"plan must be a FaultPlan or its text (got {plan!r} that is a {type(plan).__name__})"
        )
    if isinstance(inner, type):
        raise TypeError(
            f"inner must be a storage object (got the class {inner.__name__}); did you mean an instance?"
        )
    for fault in plan:
        prepare(fault.action, str(fault))
    namespace = object.__getattribute__(instance, "__dict__")
    namespace[OWN] = Carried(plan, inner, metadata)
    if inner is not None and isinstance(inner, AsyncStager) and not isinstance(instance, AsyncStager):
        # A stager by the attributes of its instance: the protocol looks at those of this one.
        for name in ("_synchronize_after_execute", "should_synchronize_after_execute"):
            namespace[name] = getattr(inner, name)
        for name in ("stage", "synchronize_staging", "close"):
            namespace[name] = functools.partial(_call_inner, inner, name)


def _call_inner(inner: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(inner, name)(*args, **kwargs)


def _rebuild(cls: Any, plan: FaultPlan, inner: Any, metadata: Any) -> Any:
    instance = cls.__new__(cls)
    _equip(instance, plan, inner, metadata)
    return instance


def _no_result(self: Any, *args: Any, **kwargs: Any) -> None:
    return None


def _what_it_got(self: Any, *args: Any, **kwargs: Any) -> Any:
    return args[0] if args else next(iter(kwargs.values()), None)


def _completed(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def _read_metadata(self: Any, *args: Any, **kwargs: Any) -> Metadata:
    given = _state(self).metadata
    if isinstance(given, Metadata):
        return given
    return metadata_of_current_load() if given is None else metadata_of(given)


_NOTHING: dict[str, Any] = {
    "prepare_global_plan": _what_it_got,
    "prepare_local_plan": _what_it_got,
    "read_data": lambda self, *args, **kwargs: _completed(None),
    "read_metadata": _read_metadata,
    "validate_checkpoint_id": lambda cls, *args, **kwargs: True,
    "write_data": lambda self, *args, **kwargs: _completed([]),
}


class FaultyStorageWriter(Faulty, StorageWriter, interface=StorageWriter, layer="writer"):
    """A ``StorageWriter`` whose methods fail as `plan` says.

    Args:
        plan: a `FaultPlan` or its text.
        inner: a storage writer; None to store nothing.

    Raises:
        PlanError: the text is no plan.
        ValueError: an exception of the plan cannot be built.
    """

    def __init__(self, plan: FaultPlan | str, inner: StorageWriter | None = None) -> None:
        _equip(self, plan, inner)


class FaultyStorageReader(Faulty, StorageReader, interface=StorageReader, layer="reader"):
    """A ``StorageReader`` whose methods fail as `plan` says.

    Args:
        plan: a `FaultPlan` or its text.
        inner: a storage reader; None to read nothing.
        metadata: without `inner`, what ``read_metadata`` returns: a ``Metadata``, or a state dict to derive it from,
            by default the one that is being loaded.

    Raises:
        PlanError: the text is no plan.
        ValueError: an exception of the plan cannot be built.
    """

    def __init__(
        self,
        plan: FaultPlan | str,
        inner: StorageReader | None = None,
        metadata: Metadata | Mapping[str, Any] | None = None,
    ) -> None:
        if metadata is not None and not isinstance(metadata, Metadata | Mapping):
            raise TypeError(f"metadata must be a Metadata or a state dict (got {type(metadata).__name__})")
        _equip(self, plan, inner, metadata)
