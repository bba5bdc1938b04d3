"""What an application holds once it has loaded, seen on the rank: the evidence of the check `application`.

Guarantees: what a load gave back is compared with what it has read; and when an object has taken a state
(``load_state_dict``, `set_model_state_dict`, `set_optimizer_state_dict`, which `set_state_dict` is made of), its state
is asked for again and compared with what it was given, and with what the load gave back under its names.  Only the
outermost of such calls counts.  To ask for a state is seen by nobody: no fault fires in it, and where it would
communicate it is given up, since the other ranks need not come.

Compared are checksums (`faultkit.injection.engine.leaves`).  Not covered: FSDP of the first kind; an object whose class
is told of neither by torch, the state that is loaded, nor a name in a module of those who call the load.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch.distributed.checkpoint import state_dict as engine
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.utils._python_dispatch import TorchDispatchMode

from faultkit.hooks import collectives
from faultkit.injection.engine.attempts import Attempts
from faultkit.injection.engine.leaves import (
    CAST,
    SHAPE,
    VALUE,
    Leaf,
    difference,
    leaf_of,
    named,
)
from faultkit.injection.engine.loads import Load
from faultkit.injection.engine.sources import Sources, local
from faultkit.injection.engine.states import (
    Given,
    Loaded,
    by_parameter,
    is_within,
    note_containers,
    prefix_of,
    ties_of,
    untied,
)
from faultkit.injection.engine.stored_values import UNKNOWN, plain_value
from faultkit.interception.patches import Patches

__all__ = ["Application"]

TAKES, GIVES = "load_state_dict", "state_dict"
NAMING_METHODS = ("set_up_planner", "create_local_plan", "load_bytes")
OF_LIBRARIES = ("torch.", "numpy.", "faultkit.")

Told = list[list[str]]  # name, in what it differs, what it was to be, what it is


class Application:
    """The objects that take states in one session, or on all ranks that live in this process."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._patches = Patches()
        self._searched: set[int] = set()
        self.sources = Sources(attempts, lambda: self.is_wanted, self._alone)
        self._lock = threading.Lock()

    def install(self, patches: Patches) -> None:
        """Watch the classes of torch, and its functions that give a state to a model or an optimizer."""
        classes = _classes_of_torch()
        for cls in classes:
            if isinstance(original := vars(cls).get(TAKES), FunctionType):
                patches.set_attribute(cls, TAKES, self._method(original))
        self.sources.install(patches, classes)
        for name, wrap in (
            ("_load_model_state_dict", self._model),
            ("_load_optim_state_dict", self._optimizer),
        ):
            if isinstance(original := getattr(engine, name, None), FunctionType):
                patches.set_attribute(engine, name, wrap(original))

    def serve(self, patches: Patches) -> None:
        """From now on other classes are watched until `patches` is undone."""
        self._patches, self._searched = patches, set()
        patches.set_up(self._forget)

    def _forget(self) -> None:
        session = self._attempts.session
        session.loaded, session.sources, session.pending = None, [], []

    @property
    def is_wanted(self) -> bool:
        session = self._attempts.session
        return "application" in session.watches and not session.closed

    # -- what a load gave back -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def around_load(self, state: Any) -> Iterator[None]:
        """A load is made, into `state` as the user has it: watch whoever may take what it gives back."""
        if isinstance(state, Mapping):
            for element in state.values():
                self._see(type(element))
        with self.sources.around_load(state):
            yield
        with contextlib.suppress(Exception):
            self._see_callers()

    def _see_callers(self) -> None:
        """Watch the classes that the modules of those who called have a name for."""
        frame = sys._getframe(1)
        while frame is not None:
            namespace = frame.f_globals
            if id(namespace) not in self._searched:
                self._searched.add(id(namespace))
                if not _is_of_a_library(namespace.get("__name__")):
                    for value in [*namespace.values()]:
                        self._see_global(value)
            frame = frame.f_back  # type: ignore[assignment]

    def note(self, number: int, load: Load, state: Any, before: dict[str, Any]) -> None:
        """A load came back well: `state` is what it gave back, `before` the leaves of it as they had been."""
        with contextlib.suppress(Exception):
            self._note(number, load, state, before)

    def _note(self, number: int, load: Load, state: Any, before: dict[str, Any]) -> None:
        session = self._attempts.session
        values = named(state)
        earlier, loaded = session.loaded, Loaded(number)
        for name, value in values.items():
            if is_within(name, load.asked):
                loaded.leaves[name], loaded.values[name] = leaf_of(value), value
        note_containers(loaded.containers, "", state)
        told = self._not_as_stored(load, loaded, values, before)
        if earlier is not None and not earlier.leaves.keys() & loaded.leaves.keys():
            loaded.add(earlier)
        session.loaded = loaded
        self._record("", told)

    def _not_as_stored(
        self, load: Load, loaded: Loaded, values: dict[str, Any], before: dict[str, Any]
    ) -> Told:
        told: Told = []
        names_as_engine = _names_as_the_engine(load.planner)
        for name, stored in load.stored.items():
            value = plain_value(stored)
            if value is UNKNOWN:
                if name in values and name in before and values[name] is before[name]:
                    told.append([name, VALUE, "what is stored", "the object that had been there"])
                continue
            for part, expected in named(value, name).items():
                if not names_as_engine and part not in values:
                    continue
                then, now = leaf_of(expected), loaded.leaves.get(part)
                _tell(told, part, then, now, difference(then, now))
        scaled = getattr(load.reader, "_weight_scale_mapping", ())
        for name, entry in (load.held or {}).items():
            if isinstance(entry, TensorStorageMetadata) and name in loaded.leaves and name not in scaled:
                leaf, dtype = loaded.leaves[name], str(entry.properties.dtype).removeprefix("torch.")
                if leaf.kind == "tensor" and leaf.dtype != dtype:
                    told.append([name, CAST, dtype, leaf.dtype])
        return told

    # -- what an object took -------------------------------------------------------------------------------

    def _see_global(self, value: Any) -> None:
        if issubclass(type(value), type):  # not isinstance, which asks the object itself
            self._see(value)
        elif issubclass(type(value), ModuleType) and not _is_of_a_library(vars(value).get("__name__")):
            for inner in [*vars(value).values()]:
                if issubclass(type(inner), type):
                    self._see(inner)

    def _see(self, cls: type) -> None:
        """Watch how instances of `cls` take a state."""
        owner = next((base for base in cls.__mro__ if TAKES in vars(base)), None)
        if owner is None or not callable(getattr(cls, GIVES, None)) or owner.__name__ == "Stateful":
            return
        original = vars(owner)[TAKES]
        if isinstance(original, FunctionType) and not hasattr(original, "__faultkit_takes__"):
            with self._lock:
                self._patches.set_attribute(owner, TAKES, self._method(original))

    def _method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(holder: Any, *args: Any, **kwargs: Any) -> Any:
            given = args[0] if args else next(iter(kwargs.values()), None)
            self.sources.taken(holder)
            if not self._is_outermost() or not isinstance(given, Mapping):
                return original(holder, *args, **kwargs)
            then, ties = _given(given), ties_of(holder)
            with self._attempts.taking():
                result = original(holder, *args, **kwargs)
                self._judge(
                    f"{type(holder).__name__}.{TAKES}",
                    then,
                    lambda: getattr(holder, GIVES)(),
                    told=untied(holder, ties),
                    dropped=_dropped(holder, result),
                )
            return result

        entered.__faultkit_takes__ = True  # type: ignore[attr-defined]
        return entered

    def _model(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(model: Any, state: Any, info: Any, *args: Any, **kwargs: Any) -> Any:
            self.sources.taken(model)
            if not self._is_outermost() or info.fsdp_modules or not isinstance(state, Mapping):
                return original(model, state, info, *args, **kwargs)
            then, ties = _given(state), ties_of(model)
            with self._attempts.taking():
                result = original(model, state, info, *args, **kwargs)
                ask = functools.partial(engine._get_model_state_dict, model, local(info))
                dropped = () if info.strict else tuple(getattr(result, "unexpected_keys", ()))
                if info.handle_model:
                    told = untied(model, ties)
                    self._judge("set_model_state_dict", then, ask, told, dropped, info.broadcast_from_rank0)
            return result

        return entered

    def _optimizer(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(model: Any, optimizers: Any, state: Any, info: Any, *args: Any, **kwargs: Any) -> Any:
            self.sources.taken(*optimizers)
            if not self._is_outermost() or info.fsdp_modules or not isinstance(state, Mapping):
                return original(model, optimizers, state, info, *args, **kwargs)
            then = _given(state)
            with self._attempts.taking():
                result = original(model, optimizers, state, info, *args, **kwargs)
                ask = functools.partial(engine._get_optim_state_dict, model, optimizers, local(info))
                if info.handle_optim and all(one.state for one in optimizers):  # else to ask would make it
                    self._judge("set_optimizer_state_dict", then, ask, [], None, info.broadcast_from_rank0)
            return result

        return entered

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Meanwhile an object may be asked for its state: that is no part of the work, and waits for no other rank."""
        with (
            contextlib.suppress(collectives.CollectiveRefusedError),
            self._attempts.taking(),
            self._attempts.session.threads.unseen(),
            collectives.refused(),
            _Refusing(),
            torch.no_grad(),
        ):
            yield

    def _is_outermost(self) -> bool:
        return self.is_wanted and not self._attempts.is_taking

    def _judge(
        self,
        where: str,
        then: Given | None,
        ask: Callable[[], Any],
        told: Told,
        dropped: tuple[str, ...] | None,
        is_broadcast: bool = False,
    ) -> None:
        """Compare what was given with what `ask` gives; of a name that is there no more only where it is `dropped`, by
        default all."""
        with contextlib.suppress(Exception):
            state = None
            with self._alone():
                state = ask()
            if then is None or not isinstance(state, Mapping):
                return
            now = Given(state)
            if is_broadcast:
                self._record_broadcast(where, then, now)
            for name, leaf in then.leaves.items():
                found = now.leaves.get(name)
                if found is None and dropped is not None and name not in dropped:
                    continue
                if found is None and _takes_by_itself(then.values[name]):
                    continue
                kind = difference(leaf, found, then.values[name], now.values.get(name))
                _tell(told, name, leaf, found, kind)
            told += self._not_as_loaded(then, now, {one[0] for one in told})
            self._record(where, told)

    def _not_as_loaded(self, then: Given, now: Given, told_already: set[str]) -> Told:
        """What of that which a load gave back under the names of this object is another now."""
        loaded: Loaded | None = self._attempts.session.loaded
        if loaded is None:
            return []
        prefix, is_certain = prefix_of(loaded, then, now)
        if prefix is None:
            return []
        told: Told = []
        for own, of_load in by_parameter(loaded.under(prefix)).items():
            if own in told_already:
                continue
            name = f"{prefix}{of_load}"
            leaf = loaded.leaves[name]
            found = now.leaves.get(own)
            if found is None and not (is_certain and prefix and own not in then.leaves):
                continue
            kind = difference(leaf, found, loaded.values[name], now.values.get(own))
            _tell(told, own, leaf, found, kind)
        return told

    def _record_broadcast(self, where: str, then: Given, now: Given) -> None:
        """What rank 0 gives for all, and what the others have of it then."""
        from faultkit.injection.engine.broadcasts import pieces_held, pieces_to_hold

        rank = torch.distributed.get_rank()
        pieces = pieces_to_hold(then.values, now.values) if rank == 0 else pieces_held(now.values)
        self._attempts.session.record("broadcast", where=where, pieces=pieces)

    def _record(self, where: str, told: Told) -> None:
        if told:
            session = self._attempts.session
            number = session.loaded.number if session.loaded is not None else 0
            session.record("differs", attempt=number, where=where, leaves=sorted(told))


def _given(state: Any) -> Given | None:
    """What is given now; None where that cannot be told."""
    with contextlib.suppress(Exception):
        return Given(state)
    return None


def _tell(told: Told, name: str, then: Leaf, now: Leaf | None, kind: str) -> None:
    if kind:
        texts = [
            str(list(leaf.shape)) if kind == SHAPE else leaf.text for leaf in (then, now) if leaf is not None
        ]
        told.append([name, kind, *texts, *[""] * (2 - len(texts))])


def _names_as_the_engine(planner: Any) -> bool:
    bases = type(planner).__mro__
    return DefaultLoadPlanner in bases and not any(
        name in vars(base) for base in bases[: bases.index(DefaultLoadPlanner)] for name in NAMING_METHODS
    )


def _dropped(holder: Any, result: Any) -> tuple[str, ...] | None:
    """Of a module the names that it says it had no use for; None where any may be missed."""
    if isinstance(holder, torch.nn.Module):
        return tuple(getattr(result, "unexpected_keys", ()))
    return None


def _takes_by_itself(value: Any) -> bool:
    """Whether it is an object that a load fills: who is given it among other things need not keep it."""
    return callable(getattr(type(value), TAKES, None)) and callable(getattr(type(value), GIVES, None))


def _classes_of_torch() -> list[type]:
    from torch.amp.grad_scaler import GradScaler
    from torch.optim import lr_scheduler

    found = [torch.nn.Module, torch.optim.Optimizer, GradScaler]
    found += [cls for cls in vars(lr_scheduler).values() if isinstance(cls, type)]
    return [*dict.fromkeys(found)]


def _is_of_a_library(module: Any) -> bool:
    name = f"{module}."
    return name.startswith(OF_LIBRARIES) or name.partition(".")[0] in sys.stdlib_module_names


class _Refusing(TorchDispatchMode):
    """Meets what communicates below Python's calls of a process group, as what gathers a distributed tensor does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "c10d" in func.namespace:
            raise collectives.CollectiveRefusedError(str(func))
        return func(*args, **(kwargs or {}))
