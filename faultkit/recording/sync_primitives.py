"""What one thread of a process hands to another: tasks and results of pools, events, conditions, queues and the like.

Guarantees: who gets what another thread handed over has a "thread" event of phase "wait" recorded: it comes after all
that the other had done when it handed it over.  Each hand is followed to the one that takes it: a future from `submit`
to its task and from its end to whoever sees that it is done, an item from `put` to the `get` that gives it, `task_done`
to `join`, `Event.set` to a wait or look that finds it set, all arrivals at a barrier to each departure, and the release
of a semaphore by a thread that did not hold it to an acquisition that needed it.  Only a condition is coarser: who
enters one, or wakes in it, comes after all earlier notifications of it.

Not covered: locks, variables that are polled, `queue.SimpleQueue` (and with it `multiprocessing.pool.ThreadPool`) made
before the recording, room in a bounded queue, and queues between processes.  Results that went through the one thread
which hands out those of a `ThreadPool` keep the order in which they went.
"""

from __future__ import annotations

import collections
import concurrent.futures._base
import functools
import queue
import threading
from collections.abc import Callable
from typing import Any

from faultkit.recording.happens_before import Change, hand, kept, local, me, originals, quietly, replace, take

__all__ = ["changes"]

_Condition, _Event, _Queue = threading.Condition, threading.Event, queue.Queue
_Semaphore, _Barrier = threading.Semaphore, threading.Barrier
_Future, _ThreadPool = concurrent.futures.Future, concurrent.futures.ThreadPoolExecutor


# -- conditions, and the futures that are made of them ----------------------------------------------


def _take_notified(condition: Any) -> None:
    notified = vars(condition).get("_faultkit_notified")
    if notified:
        for token in list(notified.items()):
            take(token)


def _enter(self: Any) -> Any:
    result = originals[_enter](self)
    if not local.depth:
        _take_notified(self)
    return result


def _wait(self: Any, timeout: float | None = None) -> bool:
    result: bool = originals[_wait](self, timeout)
    if not local.depth:
        _take_notified(self)
    return result


def _notify(self: Any, n: int = 1) -> None:
    if not local.depth:
        thread, at_ns = hand()
        kept(self, "_faultkit_notified", dict)[thread] = at_ns
    originals[_notify](self, n)


def _make_future(self: Any, *args: Any, **kwargs: Any) -> None:
    originals[_make_future](self, *args, **kwargs)
    thread, at_ns = hand()  # as a rule that of `submit`; the task begins with a look at the future
    kept(self._condition, "_faultkit_notified", dict)[thread] = at_ns


def _acquire_futures(self: Any) -> None:
    originals[_acquire_futures](self)
    for future in self.futures:
        if future._state in ("CANCELLED_AND_NOTIFIED", "FINISHED"):
            _take_notified(future._condition)


def _adjust_threads(self: Any) -> None:
    with quietly():  # it looks whether a worker is idle, which is no reason for anything
        originals[_adjust_threads](self)


# -- events, semaphores, barriers -------------------------------------------------------------------


def _set(self: Any) -> None:
    if not self._flag:
        vars(self)["_faultkit_set"] = hand()
    originals[_set](self)


def _wait_event(self: Any, timeout: float | None = None) -> bool:
    result: bool = originals[_wait_event](self, timeout)
    if result:
        take(vars(self).get("_faultkit_set"))
    return result


def _is_set(self: Any) -> bool:
    result: bool = originals[_is_set](self)
    if result and not local.depth:
        take(vars(self).get("_faultkit_set"))
    return result


def _acquire(self: Any, blocking: bool = True, timeout: float | None = None) -> bool:
    result: bool = originals[_acquire](self, blocking, timeout)
    if result:
        held = kept(self, "_faultkit_held", collections.Counter)
        held[me()] += 1
        tokens = vars(self).get("_faultkit_released")
        while tokens and len(tokens) > self._value:  # else there was a permit that nobody had to release
            take(tokens.popleft())
    return result


def _releasing(key: Callable[..., Any]) -> Callable[..., Any]:
    def release(self: Any, n: int = 1) -> None:
        held = kept(self, "_faultkit_held", collections.Counter)
        if held[me()] > 0:
            held[me()] -= n  # what it had taken itself: this says nothing to who comes next
        else:
            kept(self, "_faultkit_released", collections.deque).extend([hand()] * n)
        originals[release](self, n)

    return functools.wraps(key)(release)


def _wait_barrier(self: Any, timeout: float | None = None) -> int:
    with _arriving:
        arrived = kept(self, "_faultkit_arrived", list)
        arrived.append(hand())
        is_last = len(arrived) >= self._parties
        if is_last:
            vars(self)["_faultkit_arrived"] = []
    if is_last:  # which runs the barrier's action, too
        for token in arrived:
            take(token)
    result: int = originals[_wait_barrier](self, timeout)
    for token in arrived:
        take(token)
    return result


_arriving = threading.Lock()


# -- queues -----------------------------------------------------------------------------------------


def _put(self: Any, item: Any, *args: Any, **kwargs: Any) -> None:
    tokens = kept(self, "_faultkit_put", dict)
    token = hand()
    tokens.setdefault(id(item), collections.deque()).append(token)  # it lives as long as it is in the queue
    try:
        originals[_put](self, item, *args, **kwargs)
    except BaseException:
        tokens[id(item)].pop()
        raise


def _get(self: Any, *args: Any, **kwargs: Any) -> Any:
    item = originals[_get](self, *args, **kwargs)
    tokens = vars(self).get("_faultkit_put")
    if tokens and (of_item := tokens.get(id(item))):
        take(of_item.popleft())
        if not of_item:
            tokens.pop(id(item), None)
    return item


def _task_done(self: Any) -> None:
    thread, at_ns = hand()
    kept(self, "_faultkit_done", dict)[thread] = at_ns
    originals[_task_done](self)


def _join(self: Any) -> None:
    originals[_join](self)
    for token in list(vars(self).get("_faultkit_done", {}).items()):
        take(token)


class _Kind(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, queue_type)


queue_type: Any = queue.SimpleQueue


class _SimpleQueue(queue_type, metaclass=_Kind):
    """The interpreter's own, whose items have the token with them."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        queue_type.put(self, (hand(), item))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        token, item = queue_type.get(self, block, timeout)
        take(token)
        return item

    def put_nowait(self, item: Any) -> None:
        self.put(item)

    def get_nowait(self) -> Any:
        return self.get(False)


_SimpleQueue.__name__ = _SimpleQueue.__qualname__ = "SimpleQueue"


_changes: list[Change] = []


def changes() -> list[Change]:
    """(class or module, name, what stands in its place while somebody listens)."""
    if not _changes:
        _changes.extend(
            [
                replace(_Condition, "__enter__", _enter, nests=True),
                replace(_Condition, "wait", _wait, nests=True),
                replace(_Condition, "notify", _notify, nests=True),
                replace(_Future, "__init__", _make_future, nests=True),
                replace(_Event, "set", _set),
                replace(_Event, "wait", _wait_event),
                replace(_Event, "is_set", _is_set, nests=True),
                replace(_Semaphore, "acquire", _acquire),
                replace(_Barrier, "wait", _wait_barrier),
                replace(_Queue, "put", _put),
                replace(_Queue, "get", _get),
                replace(_Queue, "task_done", _task_done),
                replace(_Queue, "join", _join),
                (queue, "SimpleQueue", _SimpleQueue),
            ]
        )
        seen_acquire = next(
            made for owner, name, made in _changes if (owner, name) == (_Semaphore, "acquire")
        )
        _changes.append((_Semaphore, "__enter__", seen_acquire))
        for owner in (_Semaphore, threading.BoundedSemaphore):
            _changes.append(replace(owner, "release", _releasing(vars(owner)["release"])))
        acquire_futures = getattr(concurrent.futures._base, "_AcquireFutures", None)
        if acquire_futures is not None:
            _changes.append(replace(acquire_futures, "__enter__", _acquire_futures, nests=True))
        if "_adjust_thread_count" in vars(_ThreadPool):
            _changes.append(replace(_ThreadPool, "_adjust_thread_count", _adjust_threads, nests=True))
    return _changes
