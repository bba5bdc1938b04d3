"""The one source of events of torch.distributed: who listens is told of each call of a process group, and of its wait.

Guarantees: every call that reaches a process group from Python ends in a method of the `ProcessGroup` class and, unless
asynchronous, in `Work.wait`; calls of a store end in the methods of `Store`.  These are replaced once per
process, by functions that tell the listeners and then call the original; without a listener they only pass through.  In
a process where `install` was called, which each rank does, the object collectives and the steps of
`torch.distributed.checkpoint` are told of as well, and `label_of_thread` says in which of them a thread is.

To listen keeps nothing alive: works are known by weak references, because a work that nobody keeps takes a message
with it that has not left yet.  So a run goes the same way however many listen to it.

Not covered: communication issued from C++ (functional collectives in a compiled graph, a custom backend that waits
inside its own call); subscribing on two threads at a time.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from faultkit.hooks import gloo_threads, store_keys
from faultkit.hooks.distributed_calls import (
    COLLECTIVE,
    GROUP_METHODS,
    KINDS,
    MESSAGE,
    OPERATION,
    OPERATIONS,
    STEP,
    STEPS,
    STORE,
    STORE_CHANGE,
    STORE_CHANGES,
    DistributedCall,
    Listener,
)
from faultkit.interception.patches import Patches

__all__ = [
    "CollectiveRefusedError",
    "install",
    "label_of_thread",
    "refused",
    "subscribe",
    "unsubscribe",
    "watch_class",
]


class CollectiveRefusedError(BaseException):
    """What was asked of a rank alone would communicate; no ``except Exception`` on the way is meant."""


_listeners: tuple[Listener, ...] = ()
_listening: dict[str, Listener | None] = dict.fromkeys(KINDS)  # whoever listens, several as one
_works: dict[
    int, tuple[Any, DistributedCall, Listener, Any]
] = {}  # by the identity of the work, with its reference
_thread = threading.local()
_patches = Patches()
_is_installed = _is_kept = False
_watched: set[type] = set()


def install(attempt_of_thread: Callable[[], str]) -> None:
    """Replace the methods for the life of this process, those of the engine, too; only the first call counts.

    `attempt_of_thread` names the attempt of the engine that the calling thread carries out, empty for none.
    """
    global _is_kept
    if _is_kept:
        return
    _is_kept = True
    _replace_calls()
    from torch.distributed.checkpoint.utils import _DistWrapper

    for name in OPERATIONS:
        _replace(_DistWrapper, name, functools.partial(_operation, name, attempt_of_thread))
    for name in STEPS:
        _replace(_DistWrapper, name, _step)
    gloo_threads.install()


def subscribe(listener: Listener) -> None:
    """Tell `listener` of calls from now on; the methods are replaced where they are not yet."""
    _replace_calls()
    _listen((*_listeners, listener))


def unsubscribe(listener: Listener) -> None:
    """Tell it no more; after the last one the methods are put back, except where `install` was called."""
    global _is_installed
    _listen(tuple(one for one in _listeners if one is not listener))
    if not _listeners and not _is_kept:
        _patches.undo()
        _is_installed = False


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Meanwhile no call of this thread reaches a process group: it raises `CollectiveRefusedError`."""
    _thread.refuses = True
    try:
        yield
    finally:
        _thread.refuses = False


def watch_class(kind: type) -> None:
    """Tell of the calls of a class of process groups that makes them itself, for the life of this process."""
    from torch._C._distributed_c10d import ProcessGroup

    for one in kind.__mro__[: kind.__mro__.index(ProcessGroup)]:
        if one not in _watched:
            _watched.add(one)
            for name in vars(one).keys() & GROUP_METHODS.keys():
                setattr(one, name, _of_group(name, vars(one)[name]))


def label_of_thread() -> str:
    """What the engine does on this thread: "object collective|step|attempt", or ""."""
    return getattr(_thread, "label", "")


def _listen(listeners: tuple[Listener, ...]) -> None:
    global _listeners, _listening
    _listeners = listeners
    listening: dict[str, Listener | None] = dict.fromkeys(KINDS)
    for one in listeners:
        for kind in one.kinds:
            before = listening[kind]
            if before is not None:
                several = before.listeners if isinstance(before, _Several) else (before,)
                listening[kind] = _Several((*several, one))
            else:
                listening[kind] = one
    _listening = listening


class _Several:
    """Several listeners as one, whose note is theirs; of a wait it tells those that still listen."""

    kinds = frozenset(KINDS)

    def __init__(self, listeners: tuple[Listener, ...]) -> None:
        self.listeners = listeners

    def begins(self, call: DistributedCall, owner: Any, arguments: tuple[Any, ...]) -> list[Any]:
        return [one.begins(call, owner, arguments) for one in self.listeners]

    def ends(self, call: DistributedCall, note: list[Any], is_ok: bool) -> None:
        for one, its_note in zip(self.listeners, note, strict=True):
            one.ends(call, its_note, is_ok)

    def waits(self, call: DistributedCall, note: list[Any]) -> None:
        for one, its_note in zip(self.listeners, note, strict=True):
            if one in _listeners:
                one.waits(call, its_note)

    def waited(self, call: DistributedCall, note: list[Any], is_ok: bool) -> None:
        for one, its_note in zip(self.listeners, note, strict=True):
            if one in _listeners:
                one.waited(call, its_note, is_ok)


def _replace_calls() -> None:
    global _is_installed
    if _is_installed:
        return
    _is_installed = True
    from torch._C._distributed_c10d import ProcessGroup, Store, Work

    for name in GROUP_METHODS:
        if hasattr(ProcessGroup, name):
            _replace(ProcessGroup, name, functools.partial(_of_group, name))
    _replace(Work, "wait", _wait)
    for name in ("get", "wait"):
        _replace(Store, name, functools.partial(_of_store, name))
    for name in STORE_CHANGES:
        _replace(Store, name, functools.partial(_of_store_change, name))
    store_keys.watch(_patches)


def _replace(owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    _patches.set_attribute(owner, name, make(getattr(owner, name)))


def _of_group(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    kind = GROUP_METHODS[name]
    peer_of = {COLLECTIVE: _root, MESSAGE: _peer}.get(kind, _nobody)
    if name == "recv_anysource":
        peer_of = _nobody

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(_thread, "refuses", False):
            raise CollectiveRefusedError(name)
        listener = _listening[kind]
        if listener is None:
            return original(self, *args, **kwargs)
        made = DistributedCall(kind, name, self.group_name, peer_of(args, kwargs))
        note = listener.begins(made, self, args)
        is_ok = False
        try:
            work = original(self, *args, **kwargs)
            is_ok = True
        finally:
            listener.ends(made, note, is_ok)
        if work is not None:
            key = id(work)
            _works[key] = (weakref.ref(work, functools.partial(_works.pop, key)), made, listener, note)
        return work

    return call


def _root(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Options come last, or by name."""
    for one in (*args[-1:], *kwargs.values()):
        root = getattr(one, "rootRank", None)
        if root is not None:
            return int(root)
    return -1


def _peer(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    return int(args[1] if len(args) > 1 else kwargs.get("dstRank", kwargs.get("srcRank", -1)))


def _nobody(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    return -1


def _wait(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def wait(self: Any, *args: Any, **kwargs: Any) -> Any:
        entry = _works.get(id(self))
        if entry is None:
            return original(self, *args, **kwargs)
        _, call, listener, note = entry
        if listener not in _listeners and not isinstance(listener, _Several):
            return original(self, *args, **kwargs)
        listener.waits(call, note)
        is_ok = False
        try:
            result = original(self, *args, **kwargs)
            is_ok = _works.pop(id(self), None) is entry
            return result
        finally:
            listener.waited(call, note, is_ok)

    return wait


def _of_store(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    made = DistributedCall(STORE, f"store.{name}")

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _told(made, original, self, args, kwargs)

    return call


def _of_store_change(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    made = DistributedCall(STORE_CHANGE, f"store.{name}")

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        listener = _listening[STORE_CHANGE]
        if listener is None:
            return original(self, *args, **kwargs)
        note = listener.begins(made, self, args)
        told, is_ok = made, False
        try:
            result = original(self, *args, **kwargs)
            is_ok = True
            if name == "add":
                told = msgspec.structs.replace(made, peer=result)
            return result
        finally:
            listener.ends(told, note, is_ok)

    return call


def _operation(
    name: str, attempt_of_thread: Callable[[], str], original: Callable[..., Any]
) -> Callable[..., Any]:
    made = DistributedCall(OPERATION, name)

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        _thread.label = f"{name}|{getattr(_thread, 'step', '')}|{attempt_of_thread()}"
        try:
            return _told(made, original, self, args, kwargs)
        finally:
            _thread.label = ""

    return call


def _step(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, step: str, *args: Any, **kwargs: Any) -> Any:
        before = getattr(_thread, "step", "")
        _thread.step = step
        try:
            made = DistributedCall(STEP, step)
            return _told(made, original, self, (step, *args), kwargs)
        finally:
            _thread.step = before

    return call


def _told(
    call: DistributedCall,
    original: Callable[..., Any],
    owner: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    listener = _listening[call.kind]
    if listener is None:
        return original(owner, *args, **kwargs)
    note = listener.begins(call, owner, args)
    is_ok = False
    try:
        result = original(owner, *args, **kwargs)
        is_ok = True
        return result
    finally:
        listener.ends(call, note, is_ok)
