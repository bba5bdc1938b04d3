"""What an asynchronous save promises: its futures, from the call that made them until they say how it ended, as events.

Guarantees: of each future that `dcp.async_save` gives it is recorded when it was made (``promise``), when it completed
and what it said (``settled``), and whether anybody asked (``asked``): took its result or its error, or left a callback.
What of the engine itself asks, within the save, does not count.  What has not completed once the function is over,
although its save is, is recorded as ``unsettled``, after a moment of patience.  A future stays the object that the
engine made, and lives as long as it would have lived.

Not covered: futures of other engines, save for the handles of a checkpointer (`faultkit.checkpointers.rank_work`).
"""

from __future__ import annotations

import concurrent.futures
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import torch.futures

from faultkit.injection.engine.attempts import EVENT_MESSAGE_LENGTH_MAX, Attempt, Attempts
from faultkit.injection.errors import describe
from faultkit.injection.session import Session

__all__ = ["record_settled", "watch_promises", "watch_staged"]

PATIENCE_SECONDS = 1.0  # between the end of a save and what its future says of it
ASKS = ("result", "exception", "wait", "value")  # which tell an error once they come back
CALLBACKS = ("add_done_callback", "then")


def watch_promises(attempts: Attempts, attempt: Attempt, given: Any) -> None:
    """Record what becomes of the futures in what `dcp.async_save` gave for `attempt`."""
    if "settled" in attempts.session.watches:
        for name, future in _futures_in(given):
            _watch(attempts, attempt, name, future, is_callers=True)


def watch_staged(attempts: Attempts, attempt: Attempt, staged: Any) -> None:
    """Record what becomes of a state that is staged by a thread, which the engine alone waits for."""
    if "settled" in attempts.session.watches and _is_future(staged):
        _watch(attempts, attempt, "staged", staged, is_callers=False)


def record_settled(session: Session, error: BaseException | None, **data: Any) -> None:
    """Record that a promise has completed, well or with `error`."""
    if error is not None and not session.closed:
        told = describe(error, tracebacks=False, message_length_max=EVENT_MESSAGE_LENGTH_MAX)
        data["error"] = msgspec.to_builtins(told)
    session.record("settled", ok=error is None, **data)


def _is_future(given: Any) -> bool:
    return isinstance(given, concurrent.futures.Future | torch.futures.Future)


def _futures_in(given: Any) -> Iterator[tuple[str, Any]]:
    if _is_future(given):
        yield "upload", given
    for name in ("staging", "upload"):
        future = getattr(given, f"{name}_completion", None)
        if _is_future(future):
            yield name, future


def _watch(attempts: Attempts, attempt: Attempt, name: str, future: Any, *, is_callers: bool) -> None:
    session, is_settled = attempts.session.own(), threading.Event()
    told = {"attempt": attempt.number, "promise": name}
    session.record("promise", **told)

    def settled(done: Any) -> None:
        try:
            record_settled(session, _error_of(done), **told)
        finally:
            is_settled.set()

    def unsettled() -> None:
        if attempt.over and not is_settled.is_set() and not is_settled.wait(PATIENCE_SECONDS):
            session.record("unsettled", **told)

    future.add_done_callback(settled)
    session.at_end.append(unsettled)
    if not is_callers:
        return

    def asked() -> None:
        if attempts.current is None and not session.closed:
            session.record("asked", **told)

    _tell_when_asked(future, asked)


def _tell_when_asked(future: Any, asked: Callable[[], None]) -> None:
    """Call `asked` whenever somebody asks `future`, which becomes one of a class of its own for that.

    A function in its own dictionary would be called without what keeps the future alive: who writes
    ``futures.pop().result()`` has let go of it by then.
    """
    kind: Any = type(future)
    methods = {
        name: _asking(original, asked, at_once=name in CALLBACKS)
        for name in (*ASKS, *CALLBACKS)
        if (original := getattr(kind, name, None)) is not None
    }
    own = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    future.__class__ = type(kind)(kind.__name__, (kind,), {**methods, **own})


def _asking(original: Callable[..., Any], asked: Callable[[], None], *, at_once: bool) -> Callable[..., Any]:
    @functools.wraps(original)
    def ask(future: Any, *args: Any, **kwargs: Any) -> Any:
        if at_once:
            asked()
            return original(future, *args, **kwargs)
        try:
            return original(future, *args, **kwargs)
        finally:
            if future.done():
                asked()

    return ask


def _error_of(done: Any) -> BaseException | None:
    try:
        if isinstance(done, concurrent.futures.Future):
            return concurrent.futures.Future.exception(done)  # past whoever asks
        torch.futures.Future.value(done)
    except BaseException as error:
        return error
    return None
