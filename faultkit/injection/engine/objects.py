"""Shows the interposer the objects that the engine works with, as the engine gets or creates them.

Writers, readers, planners, file systems and stateful elements come as arguments of the engine's functions.
A writer or reader that the engine creates from a checkpoint id is attached at its first call, so that a fault
in the very first one, ``reset``, finds it; a default planner is created here, as the engine would create it a
moment later.  Nothing is touched of a layer that has no fault in the plan.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import (
    _storage_utils,
    filesystem,
    staging,
    state_dict_loader,
    state_dict_saver,
)
from torch.distributed.checkpoint.stateful import Stateful

from faultkit.injection.carried import carried
from faultkit.injection.interpose import Interposer
from faultkit.injection.session import Session
from faultkit.interception.patches import Patches

__all__ = ["Arguments", "Objects"]

_LAYERS_OF = {"writer": ("writer", "storage"), "reader": ("reader", "storage")}
_STAGER_LAYERS = ("app", "stager")


@functools.lru_cache(maxsize=64)
def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


class Arguments:
    """Reads and replaces the arguments of calls of one function by name."""

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters = _parameters(function)
        self._defaults = {name: parameter.default for name, parameter in parameters.items()}
        positional = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        self._places = {name: place for place, name in enumerate(positional)}

    def __contains__(self, name: str) -> bool:
        return name in self._defaults

    def get(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], default: Any = None) -> Any:
        """The argument, or the function's default for it, or else `default`."""
        if name in kwargs:
            return kwargs[name]
        if self._places.get(name, len(args)) < len(args):
            return args[self._places[name]]
        value = self._defaults.get(name, inspect.Parameter.empty)
        return default if value is inspect.Parameter.empty else value

    def replaced(
        self, name: str, value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with another value for `name`."""
        place = self._places.get(name, len(args))
        if place < len(args):
            return (*args[:place], value, *args[place + 1 :]), kwargs
        return args, {**kwargs, name: value}


class Objects:
    """What is attached for one session."""

    def __init__(self, session: Session, patches: Patches) -> None:
        self._session = session
        self._interposer = Interposer(session, patches)
        self._app = bool(session.planned.names("app"))
        self._stager = self._app or bool(session.planned.names("stager"))
        self._planner = bool(session.planned.names("planner"))
        self._files = bool(session.planned.names("fs"))
        self.storage = self._files or any(map(session.planned.names, ("writer", "reader", "storage")))

    def watch_storage(self, is_busy: Callable[[], bool]) -> None:
        """Meet writers and readers that nobody hands over, as those of engines that drive them by themselves.

        Nothing is met while `is_busy`: within an attempt those count that the engine was given.
        """
        for role, interface in (("writer", dcp.StorageWriter), ("reader", dcp.StorageReader)):
            if any(map(self._session.planned.names, _LAYERS_OF[role])):
                meet = functools.partial(self._see_storage, role, is_handed_over=False)
                self._interposer.watch(interface, _LAYERS_OF[role], meet, is_busy)

    def show(
        self, op: str, arguments: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Attach what a function of the engine was given; returns the arguments to give it instead."""
        if self._app:
            self._see_elements(arguments.get("state_dict", args, kwargs))
        role = "writer" if op == "save" else "reader"
        storage = arguments.get(f"storage_{role}", args, kwargs)
        if storage is not None and self.storage:
            self._see_storage(role, storage)
        if self._planner and "planner" in arguments:
            planner = arguments.get("planner", args, kwargs)
            if planner is None:
                create = (
                    state_dict_saver.DefaultSavePlanner
                    if op == "save"
                    else state_dict_loader.DefaultLoadPlanner
                )
                planner = create()
                args, kwargs = arguments.replaced("planner", planner, args, kwargs)
            self._interposer.attach(planner, ("planner",))
        return args, kwargs

    def stage(
        self,
        arguments: Arguments,
        original: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call the asynchronous save with its stager attached: the one given, the writer, or the default."""
        if not self._stager:
            return original(*args, **kwargs)
        stager = arguments.get("async_stager", args, kwargs)
        writer = arguments.get("storage_writer", args, kwargs)
        if stager is None and isinstance(writer, staging.AsyncStager):
            stager = writer
        if stager is not None:
            self._interposer.attach(stager, _STAGER_LAYERS)
            return original(*args, **kwargs)
        created_by_engine = getattr(staging, "DefaultStager", None)  # older versions have none
        with self._interposer.adopting(
            {created_by_engine: _STAGER_LAYERS} if created_by_engine else {},
            lambda created: self._interposer.attach(created, _STAGER_LAYERS),
        ):
            return original(*args, **kwargs)

    def set_up_storage(
        self,
        original: Callable[..., Any],
        arguments: Arguments,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call the engine's set-up of storage, which resets what it was given or creates what it was not."""
        role = "reader" if arguments.get("reader", args, kwargs, False) else "writer"
        storage = arguments.get("storage", args, kwargs)
        if storage:
            self._see_storage(role, storage)
            return original(*args, **kwargs)

        def adopt(created: Any) -> None:
            if isinstance(created, filesystem.FileSystemBase):
                self._interposer.attach(created, ("fs",))
            else:
                self._see_storage(role, created)

        with self._interposer.adopting(_creatable(role), adopt):
            created = original(*args, **kwargs)
        self._see_storage(role, created)
        return created

    def _see_elements(self, state_dict: Any) -> None:
        if isinstance(state_dict, Mapping):
            for element in list(state_dict.values()):
                if isinstance(element, Stateful):
                    self._interposer.attach(element, ("app",))

    def _see_storage(self, role: str, storage: Any, *, is_handed_over: bool = True) -> None:
        own = carried(storage)
        if own is None:
            self._interposer.attach(storage, _LAYERS_OF[role], is_handed_over=is_handed_over)
        elif own.plan != self._session.plan and own.inner is not None:
            self._interposer.attach(own.inner, _LAYERS_OF[role])
        if self._files:
            try:
                files = getattr(storage, "fs", None)
            except Exception:
                return
            if isinstance(files, filesystem.FileSystemBase):
                self._interposer.attach(files, ("fs",))


def _creatable(role: str) -> dict[type, tuple[str, ...]]:
    """The classes that the engine may create by itself, with the layers that their instances are in."""
    interface = dcp.StorageReader if role == "reader" else dcp.StorageWriter
    modules = [_storage_utils]
    try:
        from torch.distributed.checkpoint import _fsspec_filesystem

        modules.append(_fsspec_filesystem)
    except Exception:
        pass  # the engine does without it, too
    found: dict[type, tuple[str, ...]] = {filesystem.FileSystem: ("fs",)}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and not inspect.isabstract(value):
                if issubclass(value, interface):
                    found[value] = _LAYERS_OF[role]
                elif issubclass(value, filesystem.FileSystemBase):
                    found[value] = ("fs",)
    return found
