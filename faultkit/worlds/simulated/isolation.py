"""What a process has one of, kept apart for the ranks that share the host.

By rank, whatever another rank does: standard output and error, the environment, the working directory, the
generators of random numbers of Python, numpy and torch (CPU), the default dtype, warning filters and which
warnings were shown, signal handlers, and the main thread.  Some are looked up for the rank that asks; the others
are exchanged when the scheduler goes from one rank to another, and only where they differ.

Shared by all ranks: imported modules and what they keep, `sys.path` and `sys.argv`, logging, torch's numbers of
threads and flags of determinism, the process number, descriptors, and resource limits.  What C code prints is the
host's, and so is what it reads from the environment.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.distributed import distributed_c10d

from faultkit.worlds.rank import LIBRARY_DEFAULTS, Call
from faultkit.worlds.simulated.ranks import Rank, current_rank
from faultkit.worlds.simulated.scheduler import Task, current_task

__all__ = ["State", "adopt_main_thread", "install", "switch"]

_chdir = os.chdir
_warnings: Any = warnings
_loaded: Any = None  # the state that the generator of torch was last seen in
_directory = ""


class State:
    """Sets the ranks of one run up, and puts back what the process had before."""

    def __init__(self, call: Call, ranks: list[Rank]) -> None:
        global _directory, _loaded
        self._ranks = ranks
        self._streams = sys.stdout, sys.stderr
        self._dtype = torch.get_default_dtype()
        self._filters = warnings.filters, warnings.showwarning
        self._excepthook = sys.excepthook
        self._world = distributed_c10d._world
        try:
            _chdir(call.directory)
        except OSError:
            pass
        _directory = os.getcwd()
        torch.default_generator.manual_seed(call.seed)
        _loaded = torch.default_generator.get_state()
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "FAULTKIT_SLOTS")
        common = {
            os.fsencode(key): os.fsencode(value)
            for key, value in {**LIBRARY_DEFAULTS, **call.environment}.items()
            if key not in names
        }
        for rank in ranks:
            number, size = str(rank.number).encode(), str(rank.size).encode()
            rank.environment = {
                **common,
                b"RANK": number, b"LOCAL_RANK": number, b"WORLD_SIZE": size, b"LOCAL_WORLD_SIZE": size,
                b"FAULTKIT_SLOTS": b"0",
            }  # fmt: skip
            rank.seed = call.seed
            rank.directory = _directory
            rank.streams = self._streams
            rank.generator_state = _loaded
            rank.dtype = self._dtype
            rank.warnings = list(self._filters[0]), self._filters[1]

    def restore(self) -> None:
        for rank in self._ranks:
            if rank.main is not None:
                threading._active.pop(rank.main.ident, None)  # type: ignore[attr-defined]
        sys.stdout, sys.stderr = self._streams
        torch.set_default_dtype(self._dtype)
        _warnings.filters, _warnings.showwarning = self._filters
        sys.excepthook = self._excepthook
        distributed_c10d._world = self._world
        _chdir("/")


def switch(before: Task | None, after: Task) -> None:
    """The scheduler goes from a task to another: exchange what differs where that is one of another rank."""
    global _directory, _loaded
    if before is not None:
        rank = before.rank
        if rank is after.rank:
            return
        rank.streams = sys.stdout, sys.stderr
        rank.warnings = warnings.filters, warnings.showwarning
        rank.dtype = torch.get_default_dtype()
        state = torch.default_generator.get_state()
        if not torch.equal(state, _loaded):
            _loaded = state
        rank.generator_state = _loaded
    rank = after.rank
    distributed_c10d._world = rank.world
    sys.stdout, sys.stderr = rank.streams
    warnings.filters, warnings.showwarning = rank.warnings
    if rank.dtype is not torch.get_default_dtype():
        torch.set_default_dtype(rank.dtype)
    if rank.generator_state is not _loaded:
        torch.default_generator.set_state(rank.generator_state)
        _loaded = rank.generator_state
    if rank.directory != _directory:
        try:
            _chdir(rank.directory)
        except OSError:
            pass  # it has been removed; in a process of its own the rank would now be nowhere, too
        _directory = rank.directory


def adopt_main_thread(rank: Rank) -> None:
    """Make the calling thread the main thread of its rank, as far as Python code can see."""
    main = rank.main
    assert main is not None
    thread = threading.Thread.__new__(threading.Thread)
    thread.__dict__.update(_main_thread().__dict__)
    thread._ident = main.ident  # type: ignore[attr-defined]
    thread._native_id = threading.get_native_id()  # type: ignore[attr-defined]
    threading._active[main.ident] = thread  # type: ignore[attr-defined]
    main.thread = thread


@functools.cache
def _main_thread() -> threading.Thread:
    """What the main threads of all ranks and runs are copies of, which are cheaper than new ones."""
    thread = threading.Thread(name="MainThread")
    thread._started.set()  # type: ignore[attr-defined]
    thread._daemonic = False  # type: ignore[attr-defined]
    return thread


def install() -> None:
    """Once, in the host."""
    os.environ.__class__ = _Environment
    _main_thread()
    for name in ("chdir", "fchdir"):
        setattr(os, name, _changing_directory(getattr(os, name)))
    _install_random()
    _install_threads()
    _install_signals()
    warnings.warn = _warning(warnings.warn)


class _Environment(os._Environ):
    """`os.environ` of the rank that asks; the process's own for any other thread."""

    @property
    def _data(self) -> Any:
        rank = current_rank()
        return self.__dict__["_data"] if rank is None else rank.environment

    @_data.setter
    def _data(self, value: Any) -> None:
        self.__dict__["_data"] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        rank = current_rank()
        if rank is None:
            super().__setitem__(key, value)
        else:
            rank.environment[self.encodekey(key)] = self.encodevalue(value)

    def __delitem__(self, key: Any) -> None:
        rank = current_rank()
        if rank is None:
            super().__delitem__(key)
            return
        try:
            del rank.environment[self.encodekey(key)]
        except KeyError:
            raise KeyError(key) from None


def _changing_directory(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def change(path: Any) -> None:
        global _directory
        original(path)
        rank = current_rank()
        if rank is not None:
            rank.directory = _directory = os.getcwd()

    return change


def _generator(rank: Rank, name: str) -> Any:
    found = rank.generators.get(name)
    if found is None:
        if name == "numpy":
            found = sys.modules["numpy.random"].RandomState(rank.seed % 2**32)
        elif name == "random":
            found = random.Random(rank.seed)
        else:
            found = random.Random(f"{name} {rank.seed} {rank.number}")
        rank.generators[name] = found
    return found


def _routed(original: Callable[..., Any], generator: str, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        rank = current_rank()
        if rank is None:
            return original(*args, **kwargs)
        return getattr(_generator(rank, generator), name)(*args, **kwargs)

    call.__name__ = name
    call.__doc__ = original.__doc__
    return call


def _install_random() -> None:
    import tempfile

    for name in dir(random):
        function = getattr(random, name)
        if getattr(function, "__self__", None) is random._inst:  # type: ignore[attr-defined]
            setattr(random, name, _routed(function, "random", name))
    try:
        import numpy.random
    except ImportError:
        pass
    else:
        own = numpy.random.mtrand._rand
        for name in dir(numpy.random):
            function = getattr(numpy.random, name)
            if getattr(function, "__self__", None) is own or name == "seed":
                setattr(numpy.random, name, _routed(function, "numpy", name))
    urandom = os.urandom

    def drawn(size: int) -> bytes:
        rank = current_rank()
        return urandom(size) if rank is None else _generator(rank, "system").randbytes(size)

    os.urandom = drawn
    names: Any = vars(tempfile)["_RandomNameSequence"]
    original = names.rng.fget

    def drawn_names(self: Any) -> Any:
        rank = current_rank()
        return original(self) if rank is None else _generator(rank, "tempfile")

    names.rng = property(drawn_names)


def _install_threads() -> None:
    main_thread, enumerate_threads = threading.main_thread, threading.enumerate

    def main_of_rank() -> threading.Thread:
        rank = current_rank()
        return main_thread() if rank is None or rank.main is None else rank.main.thread

    def threads_of_rank() -> list[threading.Thread]:
        rank = current_rank()
        if rank is None:
            return enumerate_threads()
        return [task.thread for task in rank.tasks if task.thread is not None]

    threading.main_thread = main_of_rank
    threading.enumerate = threads_of_rank
    threading.active_count = lambda: len(threading.enumerate())
    # names of threads end with a number: that of the rank, not of the host
    executor: Any = concurrent.futures.ThreadPoolExecutor
    threading._counter = _counting(threading._counter, "thread", 1)  # type: ignore[attr-defined]
    executor._counter = staticmethod(_counting(executor._counter, "executor", 0))


def _counting(original: Callable[[], int], name: str, first: int) -> Callable[[], int]:
    def count() -> int:
        rank = current_rank()
        if rank is None:
            return original()
        number = rank.generators.get(name, first)
        rank.generators[name] = number + 1
        return int(number)

    return count


def _install_signals() -> None:
    set_handler, get_handler = signal.signal, signal.getsignal

    def handle(number: int, handler: Any) -> Any:
        task = current_task()
        if task is None:
            return set_handler(number, handler)
        if not task.is_main:
            raise ValueError("signal only works in main thread of the main interpreter")
        before = task.rank.signal_handlers.get(int(number), get_handler(number))
        task.rank.signal_handlers[int(number)] = handler
        return before

    def handler_of(number: int) -> Any:
        rank = current_rank()
        own = get_handler(number)
        return own if rank is None else rank.signal_handlers.get(int(number), own)

    for name, replacement in (("signal", handle), ("getsignal", handler_of)):
        setattr(signal, name, replacement)


def _warning(original: Callable[..., None]) -> Callable[..., None]:
    def warn(
        message: Any, category: Any = None, stacklevel: int = 1, source: Any = None, **more: Any
    ) -> None:
        rank = current_rank()
        if rank is not None:
            try:
                names = sys._getframe(max(1, stacklevel)).f_globals
            except ValueError:
                names = sys.__dict__
            names["__warningregistry__"] = rank.warning_registries.setdefault(names.get("__name__"), {})
        original(message, category, stacklevel + 1, source, **more)

    return warn
