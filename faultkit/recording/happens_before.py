"""One thread hands something over, another takes it: a token that goes along, and the wait that is recorded of it.

A token says who handed over and when.  Who takes it has a "thread" event of phase "wait" recorded, unless it comes
after that already; nothing is written when something is handed over, so that costs about a microsecond.  Not covered:
where it is done in the standard library, see `faultkit.recording.sync_primitives`.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "Change",
    "Token",
    "hand",
    "inner",
    "kept",
    "listen",
    "local",
    "me",
    "originals",
    "quietly",
    "replace",
    "take",
]

Token = tuple[int, int]  # the system's number of a thread, and when it handed something over
Change = tuple[Any, str, Any]

me = threading.get_native_id
_now = time.monotonic_ns

_telling = threading.RLock()
_event: Callable[..., None] | None = None
_begun_ns = 0


class _Local(threading.local):
    def __init__(self) -> None:
        self.depth = 0
        self.known: dict[int, int] = {}


local = _Local()


def listen(event: Callable[..., None] | None) -> None:
    """Tell `event` of waits from now on; None ends it, and none is told any more when this returns."""
    global _event, _begun_ns
    with _telling:
        _event, _begun_ns = event, _now()


def _child_begins() -> None:
    global _begun_ns, _telling
    _telling = threading.RLock()
    _begun_ns = _now()  # what its parent's threads handed over, they did not hand to it
    local.known = {}


os.register_at_fork(after_in_child=_child_begins)


@contextmanager
def quietly() -> Iterator[None]:
    """Meanwhile the conditions and events that this thread uses are the inner works of something else."""
    local.depth += 1
    try:
        yield
    finally:
        local.depth -= 1


def hand() -> Token:
    """What goes along with something that this thread hands over now."""
    return (me(), _now())


def take(token: Token | None) -> None:
    """This thread has got what a token came with."""
    if token is None or _event is None or token[1] < _begun_ns:
        return
    thread, at_ns = token
    known = local.known
    if known.get(thread, 0) < at_ns and thread != me():
        known[thread] = at_ns
        with _telling:
            if _event is not None:
                _event("thread", phase="wait", number=thread, offset=at_ns)


def kept(owner: Any, name: str, make: Callable[[], Any]) -> Any:
    """What is kept in `owner` for this module, made where it is missing."""
    found = vars(owner).get(name)
    return found if found is not None else vars(owner).setdefault(name, make())


def inner(method: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a replacement: within itself, and within other replacements, the original is meant."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if local.depth:
            return originals[method](self, *args, **kwargs)
        local.depth += 1
        try:
            return method(self, *args, **kwargs)
        finally:
            local.depth -= 1

    return call


originals: dict[Any, Callable[..., Any]] = {}


def replace(owner: Any, name: str, method: Callable[..., Any], *, nests: bool = False) -> Change:
    """A change that puts `method` in the place of the original, marked as `inner` unless it `nests`."""
    originals[method] = vars(owner)[name]
    return (owner, name, method if nests else inner(method))
