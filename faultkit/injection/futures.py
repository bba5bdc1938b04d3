"""The moment ``future``: a returned future is replaced by one that completes as the plan says.

Guarantees: the call that returned the future does not block, whatever the action: where something may take
time, a thread of its own waits for the real future, performs the actions and completes the new one.  An error
is what ``wait``, ``value`` or ``result`` raise, with its very type, also one that is no Exception.  A real
future that failed by itself passes its own error on and nothing fires.  Where a plan changes what a call gives
(`faultkit.injection.values`), it is what the future completes with.  Not covered: anything else than
``torch.futures.Future`` and ``concurrent.futures.Future``; a plain value is handed on, and nothing fires.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

import torch.futures

from faultkit.injection.session import Calls, Session

__all__ = ["fault_future"]


class _TorchFuture(torch.futures.Future):
    def fail(self, error: BaseException) -> None:
        # As `set_exception` does, which accepts no BaseException.
        self._set_unwrap_func(_raise)
        self.set_result(error)


class _ThreadFuture(concurrent.futures.Future[Any]):
    def fail(self, error: BaseException) -> None:
        self.set_exception(error)


def _raise(error: BaseException) -> Any:
    raise error


def fault_future(
    session: Session, calls: Calls, future: Any, change: Callable[[Any], Any] | None = None
) -> Any:
    """`future`, or one in its place that completes with what the faults of these calls do to it.

    `change` is what becomes of the value: of the one that the future completes with, or of `future` where it is none.
    """
    matches = session.matching(calls, "future")
    if not matches and change is None:
        return future
    outer: Any
    if isinstance(future, torch.futures.Future):
        outer, wait = _TorchFuture(), future.wait
    elif isinstance(future, concurrent.futures.Future):
        outer, wait = _ThreadFuture(), future.result
        outer.set_running_or_notify_cancel()
    else:
        return future if change is None else change(future)
    steps = [session.step_of(match[1]) for match in matches]

    def complete() -> None:
        try:
            value = wait()
            if change is not None and not session.closed:
                value = change(value)
            for match, step in zip(matches, steps, strict=True):
                if not session.closed:
                    session.fire(match, step)
        except BaseException as error:
            outer.fail(error)
        else:
            outer.set_result(value)

    if future.done() and all(match[1].action.raises for match in matches):
        complete()
    else:
        threading.Thread(target=complete, name="faultkit-future", daemon=True).start()
    return outer
