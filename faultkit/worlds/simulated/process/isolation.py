"""What a process has one of, kept apart for the ranks that share the host.

By rank, whatever another rank does: standard output and error, the environment, the working directory, the
generators of random numbers of Python, numpy and torch (CPU), what the engine keeps in its classes and modules
(`faultkit.worlds.engine_state`), process groups by name (`group_names`), the default dtype, warning filters and which
warnings were shown, `sys.argv`, hooks for exceptions, settings such as the umask (`settings`), signal handlers, and the
main thread.  Some are looked up for the rank that asks; the others are exchanged when the scheduler goes from one rank
to another, and only where they differ.

Shared by all ranks: imported modules and what they keep, `sys.path`, logging, torch's numbers of threads and flags of
determinism, the process number, descriptors, and resource limits.  What C code prints is the host's, and so is what it
reads from the environment.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.distributed import distributed_c10d

from faultkit.worlds import engine_state
from faultkit.worlds.process_setup import LIBRARY_DEFAULTS
from faultkit.worlds.rank import Call
from faultkit.worlds.simulated.core import group_names
from faultkit.worlds.simulated.core.ranks import Rank, current_rank
from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.core.scheduler import Task
from faultkit.worlds.simulated.process import directories, environment, randomness, settings, thread_identity

__all__ = ["State", "install", "switch"]

_warnings: Any = warnings
_hooks: tuple[Any, ...] = ()  # those in place
_loaded: Any = None  # the state that the generator of torch was last seen in


class State:
    """Sets the ranks of one run up, and puts back what the process had before."""

    def __init__(self, call: Call, ranks: list[Rank]) -> None:
        global _hooks, _loaded
        engine_state.put_back()
        self._ranks = ranks
        self._streams = sys.stdout, sys.stderr
        self._dtype = torch.get_default_dtype()
        self._filters = warnings.filters, warnings.showwarning
        self._argv = sys.argv
        self._hooks = _hooks = _replaceable()
        self._world = distributed_c10d._world
        place, common_settings = directories.begin(call.directory), settings.begin()
        torch.default_generator.manual_seed(call.seed)
        _loaded = torch.default_generator.get_state()
        of_each = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "FAULTKIT_SLOTS")
        common = {
            os.fsencode(key): os.fsencode(value)
            for key, value in {**LIBRARY_DEFAULTS, **call.environment}.items()
            if key not in of_each
        }
        for rank in ranks:
            number, size = str(rank.number).encode(), str(rank.size).encode()
            rank.environment = {
                **common,
                b"RANK": number, b"LOCAL_RANK": number, b"WORLD_SIZE": size, b"LOCAL_WORLD_SIZE": size,
                b"FAULTKIT_SLOTS": b"0",
            }  # fmt: skip
            rank.seed = call.seed_of(rank.number)
            rank.place = place
            rank.settings = common_settings
            rank.argv, rank.hooks = list(self._argv), self._hooks
            rank.streams = self._streams
            rank.generator_state = _loaded if rank.seed == call.seed else _state_of_seed(rank.seed)
            rank.dtype = self._dtype
            rank.warnings = list(self._filters[0]), self._filters[1]

    def restore(self) -> None:
        engine_state.put_back()
        for rank in self._ranks:
            if rank.main is not None:
                threading._active.pop(rank.main.ident, None)  # type: ignore[attr-defined]
        sys.stdout, sys.stderr = self._streams
        torch.set_default_dtype(self._dtype)
        _warnings.filters, _warnings.showwarning = self._filters
        sys.argv = self._argv
        _put_back(self._hooks)
        settings.end()
        distributed_c10d._world = self._world
        group_names.enter({})
        directories.end()


def _state_of_seed(seed: int) -> Any:
    return torch.Generator().manual_seed(seed).get_state()


def switch(before: Task | None, after: Task) -> None:
    """The scheduler goes from a task to another: exchange what differs where that is one of another rank."""
    global _hooks, _loaded
    if before is not None:
        rank = before.rank
        if rank is after.rank:
            return
        rank.streams = sys.stdout, sys.stderr
        rank.warnings = warnings.filters, warnings.showwarning
        rank.dtype = torch.get_default_dtype()
        rank.argv = sys.argv
        if (hooks := _replaceable()) != _hooks:
            _hooks = hooks
        rank.hooks = _hooks
        state = torch.default_generator.get_state()
        if not torch.equal(state, _loaded):
            _loaded = state
        rank.generator_state = _loaded
        rank.engine_kept.take()
    rank = after.rank
    rank.engine_kept.give()
    distributed_c10d._world = rank.world
    if rank.named_groups is not group_names.in_force:
        group_names.enter(rank.named_groups)
    sys.stdout, sys.stderr = rank.streams
    sys.argv = rank.argv
    if rank.hooks is not _hooks:
        _put_back(rank.hooks)
        _hooks = rank.hooks
    if rank.settings is not settings.in_force:
        settings.enter(rank.settings)
    warnings.filters, warnings.showwarning = rank.warnings
    if rank.dtype is not torch.get_default_dtype():
        torch.set_default_dtype(rank.dtype)
    if rank.generator_state is not _loaded:
        torch.default_generator.set_state(rank.generator_state)
        _loaded = rank.generator_state
    if rank.place is not directories.current:
        directories.enter(rank.place)


def _replaceable() -> tuple[Any, ...]:
    """The functions of modules that a program may replace by its own."""
    return sys.excepthook, threading.excepthook, _warnings.formatwarning, _warnings._showwarnmsg_impl


def _put_back(hooks: tuple[Any, ...]) -> None:
    sys.excepthook, threading.excepthook, _warnings.formatwarning, _warnings._showwarnmsg_impl = hooks


def install() -> None:
    """Once, in the host."""
    environment.install()
    thread_identity.install()
    randomness.install()
    directories.install()
    settings.install()
    replace(warnings, "warn", _warning)
    if hasattr(warnings, "_filters_mutated"):
        replace(warnings, "_filters_mutated", _filtering)


def _warning(original: Callable[..., None]) -> Callable[..., None]:
    def warn(
        message: Any, category: Any = None, stacklevel: int = 1, source: Any = None, **more: Any
    ) -> None:
        rank = current_rank()
        if rank is not None:
            try:
                scope = sys._getframe(max(1, stacklevel)).f_globals
            except ValueError:
                scope = sys.__dict__
            scope["__warningregistry__"] = rank.warning_registries.setdefault(scope.get("__name__"), {})
        original(message, category, stacklevel + 1, source, **more)

    return warn


def _filtering(original: Callable[[], None]) -> Callable[[], None]:
    """Filters have changed: what was shown may be shown again, by the rank that has changed them."""

    def filters_mutated() -> None:
        rank = current_rank()
        if rank is None:
            original()
        else:
            for registry in rank.warning_registries.values():
                registry.clear()

    return filters_mutated
