"""Objects whose state was asked for before a load, and that nobody gave what was loaded: seen on the rank.

A job loads into what ``state_dict`` gave.  Tensors there are mostly those of the object itself; numbers, copies and
what a load replaces are not, and must be handed back.  Guarantees: an object that lives when the load is over, under
whose names something was loaded, and that holds exactly what it held before, where the load gave back another value, is
told: at the next step of an optimizer, the next save or load, or the end of the function.  Whatever changed since
counts as given back, and so does every call that takes a state.  Not covered: an object whose names fit several parts
of what was loaded, or one part that fits several objects; objects of classes that torch does not know.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

import torch
from torch.distributed.checkpoint import state_dict as engine
from torch.optim.optimizer import register_optimizer_step_pre_hook

from faultkit.injection.engine.attempts import Attempts
from faultkit.injection.engine.leaves import address_of, difference, named
from faultkit.injection.engine.states import Given, Loaded, by_parameter, prefix_of
from faultkit.interception.patches import Patches

__all__ = ["Pending", "Source", "Sources"]

GIVES = "state_dict"
SOURCES_MAX = 32


class Source:
    """One object, or several, and how they are asked."""

    def __init__(self, holders: tuple[Any, ...], ask: Callable[..., Any], label: str) -> None:
        self.references = tuple(weakref.ref(holder) for holder in holders)
        self.key = tuple(id(holder) for holder in holders)
        self.label = label
        self._ask = ask

    @property
    def holders(self) -> tuple[Any, ...] | None:
        """The objects; None where one of them lives no more."""
        found = tuple(reference() for reference in self.references)
        return None if any(holder is None for holder in found) else found

    def state(self, holders: tuple[Any, ...]) -> Any:
        """What they say of themselves."""
        return self._ask(*holders)


class Pending:
    """A source under whose names something was loaded: what it held before, and what it must hold."""

    def __init__(
        self, source: Source, holders: tuple[Any, ...], before: Given, loaded: Loaded, prefix: str
    ) -> None:
        self.source, self.holders, self.before = source, holders, before
        self.loaded, self.prefix = loaded, prefix

    def stayed(self) -> list[list[str]]:
        """What is as it was, and was loaded as something else."""
        state = self.source.state(self.holders)
        if not isinstance(state, Mapping):
            return []
        now, told = Given(state), []
        for name, of_load in by_parameter(self.loaded.under(self.prefix)).items():
            leaf, before, found = (
                self.loaded.leaves[f"{self.prefix}{of_load}"],
                self.before.leaves.get(name),
                now.leaves.get(name),
            )
            if before is None or found is None or difference(before, found):
                continue
            value = self.loaded.values[f"{self.prefix}{of_load}"]
            if difference(leaf, found, value, now.values.get(name)):
                told.append([name, "value", leaf.text, found.text])
        return told


class Sources:
    """The objects that gave their state in one session, or on all ranks that live in this process."""

    def __init__(self, attempts: Attempts, is_wanted: Callable[[], bool], alone: Callable[[], Any]) -> None:
        self._attempts = attempts
        self._is_wanted = is_wanted
        self._alone = alone  # within it an object is asked by nobody but faultkit

    def install(self, patches: Patches, classes: list[type]) -> None:
        """Note who is asked: instances of `classes`, and those that torch's functions ask."""
        for cls in classes:
            if isinstance(original := vars(cls).get(GIVES), FunctionType):
                patches.set_attribute(cls, GIVES, self._method(original))
        for name, wrap in (
            ("_get_model_state_dict", self._model),
            ("_get_optim_state_dict", self._optimizer),
        ):
            if isinstance(original := getattr(engine, name, None), FunctionType):
                patches.set_attribute(engine, name, wrap(original))
        hook = register_optimizer_step_pre_hook(lambda *_: self.settle())
        patches.set_up(hook.remove)

    def _method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(holder: Any, *args: Any, **kwargs: Any) -> Any:
            if args or kwargs or not self._is_wanted() or self._attempts.is_taking:
                return original(holder, *args, **kwargs)  # of a part of a module, among others
            self._note(Source((holder,), lambda one: one.state_dict(), type(holder).__name__))
            return original(holder)

        return entered

    def _model(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(model: Any, info: Any) -> Any:
            if not self._is_wanted() or self._attempts.is_taking or info.fsdp_modules:
                return original(model, info)
            how = local(info)
            self._note(Source((model,), lambda one: original(one, how), type(model).__name__))
            with self._attempts.taking():
                return original(model, info)

        return entered

    def _optimizer(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(model: Any, optimizers: Any, info: Any) -> Any:
            if not self._is_wanted() or self._attempts.is_taking or info.fsdp_modules or not optimizers:
                return original(model, optimizers, info)
            how = local(info)
            label = type(optimizers[0]).__name__
            ask = lambda model, *optimizers: original(model, optimizers, how)  # noqa: E731
            self._note(Source((model, *optimizers), ask, label))
            with self._attempts.taking():
                return original(model, optimizers, info)

        return entered

    def _note(self, source: Source) -> None:
        session = self._attempts.session
        kept = [one for one in session.sources if one.key != source.key and one.holders is not None]
        session.sources = [*kept, source][-SOURCES_MAX:]

    # -- around a load -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def around_load(self, state: Any) -> Iterator[None]:
        """A load is made into `state`: whoever lives then must have what it gives back, once the job goes on."""
        session = self._attempts.session
        before, loaded = self._before(state), session.loaded
        session.sources = []
        yield
        if before and session.loaded is not None and session.loaded is not loaded:
            with contextlib.suppress(Exception):
                session.pending = _matched(before, session.loaded)
            if session.pending:
                session.at_end.append(self._settle_at_the_end)

    def _before(self, state: Any) -> list[tuple[Source, Given]]:
        """What each source holds beside the tensors that are loaded in place."""
        found: list[tuple[Source, Given]] = []
        with contextlib.suppress(Exception):
            in_place = {0, *map(address_of, named(state).values())} - {None}
            for source in self._attempts.session.sources:
                holders = source.holders
                if holders is not None and _is_filled(holders):
                    with contextlib.suppress(Exception), self._alone():
                        found.append((source, Given(source.state(holders), in_place)))
        return found

    def _settle_at_the_end(self) -> None:
        if sys.exc_info()[0] is None:  # else the function did not come to all that it meant to do
            self.settle()

    def begin_save(self) -> None:
        """A save begins: what was asked of objects until now was for it, and for no load that may follow."""
        self.settle()
        self._attempts.session.sources = []

    def taken(self, *holders: Any) -> None:
        """These were given a state."""
        session = self._attempts.session
        if session.pending:
            keys = {id(holder) for holder in holders}
            session.pending = [one for one in session.pending if not keys & set(one.source.key)]

    def settle(self) -> None:
        """The job goes on: what is loaded and was to be handed back is handed back by now."""
        session = self._attempts.session
        if not session.pending or self._attempts.is_taking or session.closed:
            return
        pending, session.pending = session.pending, []
        for one in pending:
            with contextlib.suppress(Exception), self._alone():
                told = one.stayed()
                if told:
                    session.record(
                        "stayed", attempt=one.loaded.number, holder=one.source.label, leaves=sorted(told)
                    )


def _matched(before: list[tuple[Source, Given]], loaded: Loaded) -> list[Pending]:
    """Those that still live, and under whose names and nobody else's something was loaded."""
    found = []
    for source, given in before:
        holders, (prefix, _) = source.holders, prefix_of(loaded, given, given)
        if holders is not None and prefix is not None:
            found.append(Pending(source, holders, given, loaded, prefix))
    prefixes = [one.prefix for one in found]
    return [one for one in found if prefixes.count(one.prefix) == 1 and one.before.leaves]


def local(info: Any) -> Any:
    """The same options, of what this rank has: without communication."""
    import dataclasses

    return dataclasses.replace(info, full_state_dict=False, cpu_offload=False, broadcast_from_rank0=False)


def _is_filled(holders: tuple[Any, ...]) -> bool:
    """Whether to ask them makes nothing: the engine makes the state of an optimizer that has none."""
    optimizers = [one for one in holders if isinstance(one, torch.optim.Optimizer)]
    return len(holders) == 1 or all(one.state for one in optimizers)
