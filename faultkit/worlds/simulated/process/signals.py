"""What would end the process, or signal it, does so to the rank alone.

A signal that a rank sends to its own process, thread or group of processes runs the handler that the rank has set, on
its main thread, or ends the rank where it is deadly; other processes of the group, which a rank may have started, get
nothing.  Not covered: signals that come from outside of the process, what waits for signals (`signal.pause`,
`sigwait`), and what ends a process in C (a segmentation fault, `os.execv`, an abort in a library), which takes all
ranks along.
"""

from __future__ import annotations

import _thread
import os
import signal
from collections.abc import Callable
from typing import Any

from faultkit.worlds.simulated.core.ranks import current_rank
from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.core.scheduler import current_task

__all__ = ["install"]


def install() -> None:
    """Once, in the host."""
    replace(os, "_exit", lambda original: _ending(original, lambda status: (None, int(status))))
    replace(os, "abort", lambda original: _ending(original, lambda: ("SIGABRT", None)))
    replace(os, "kill", _killing)
    replace(os, "killpg", _killing_group)
    replace(signal, "raise_signal", _raising)
    replace(signal, "pthread_kill", _killing_thread)
    replace(_thread, "interrupt_main", _interrupting)
    get_handler = signal.getsignal
    replace(signal, "signal", lambda original: _handling(original, get_handler))
    replace(signal, "getsignal", _handled)


def _ending(
    original: Callable[..., Any], how: Callable[..., tuple[str | None, int | None]]
) -> Callable[..., Any]:
    def end(*args: Any, **kwargs: Any) -> Any:
        task = current_task()
        if task is None:
            return original(*args, **kwargs)
        from faultkit.worlds.simulated.injection_adapter import end_rank

        return end_rank(task.rank, *how(*args, **kwargs))

    return end


def _killing(original: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def kill(pid: int, number: int) -> None:
        if current_task() is None or pid not in (os.getpid(), 0, -os.getpgrp()):
            original(pid, number)
        elif number:
            _signal_own(number)

    return kill


def _killing_group(original: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def killpg(pgid: int, number: int, /) -> None:
        if current_task() is None or pgid not in (os.getpgrp(), 0):
            original(pgid, number)
        elif number:
            _signal_own(number)

    return killpg


def _killing_thread(original: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def pthread_kill(thread_id: int, number: int, /) -> None:
        rank = current_rank()
        if current_task() is None or rank is None or thread_id not in {task.ident for task in rank.tasks}:
            original(thread_id, number)
        elif number:
            _signal_own(number)

    return pthread_kill


def _interrupting(original: Callable[..., None]) -> Callable[..., None]:
    def interrupt_main(signum: int = signal.SIGINT, /) -> None:
        rank = current_rank()
        if current_task() is None or rank is None:
            original(signum)
        elif callable(rank.signal_handlers.get(signum, signal.getsignal(signum))):
            _signal_own(signum)  # where there is no handler, this is documented to do nothing

    return interrupt_main


def _raising(original: Callable[[int], None]) -> Callable[[int], None]:
    def raise_signal(signalnum: int) -> None:
        if current_task() is None:
            original(signalnum)
        else:
            _signal_own(signalnum)

    return raise_signal


def _signal_own(number: int) -> None:
    from faultkit.worlds.simulated.injection_adapter import signal_rank

    rank = current_rank()
    assert rank is not None
    signal_rank(rank, int(number))


def _handling(original: Callable[..., Any], get_handler: Callable[[int], Any]) -> Callable[..., Any]:
    def handle(signalnum: int, handler: Any) -> Any:
        task = current_task()
        if task is None:
            return original(signalnum, handler)
        if not task.is_main:
            raise ValueError("signal only works in main thread of the main interpreter")
        before = task.rank.signal_handlers.get(int(signalnum), get_handler(signalnum))
        task.rank.signal_handlers[int(signalnum)] = handler
        return before

    return handle


def _handled(original: Callable[[int], Any]) -> Callable[[int], Any]:
    def handler_of(signalnum: int) -> Any:
        rank = current_rank()
        own = original(signalnum)
        return own if rank is None else rank.signal_handlers.get(int(signalnum), own)

    return handler_of
