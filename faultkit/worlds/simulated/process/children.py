"""Processes that a simulated rank starts: they are what its own process would have started.

Guarantees: a forked child is a process like any other: no scheduler, no simulated time, real locks and signals; it has
the rank's environment, directory and handlers of signals, and goes nowhere when the rank's function is over in it.
Waiting for a child or for what it sends takes real time, in which no simulated time passes.

Not covered: while a rank waits for a child, nobody else runs; a loop that looks after a child and sleeps sees simulated
time pass, and may so reach its end before the child does.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import threading
import time
import types
from collections.abc import Callable
from typing import Any

from faultkit.worlds.simulated.core import primitives, ranks
from faultkit.worlds.simulated.core.scheduler import current_task, tasks_by_ident

__all__ = ["install"]

# for modules that wait for processes in C: the time that passes there is real
_real_time = types.SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep, time=time.time)
_host_environment: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]


def install() -> None:
    """Once, in the host."""
    import multiprocessing.connection
    import multiprocessing.queues
    import multiprocessing.synchronize

    os.register_at_fork(after_in_child=_be_a_process)
    waiting: tuple[Any, ...] = (
        subprocess, multiprocessing.connection, multiprocessing.queues, multiprocessing.synchronize,
    )  # fmt: skip
    for module in waiting:
        module.time = _real_time
    connection: Any = multiprocessing.connection
    connection.wait = _giving_way(connection.wait)
    for name in ("recv", "recv_bytes"):
        setattr(connection.Connection, name, _giving_way(getattr(connection.Connection, name)))


def _giving_way(original: Callable[..., Any]) -> Callable[..., Any]:
    """Before a wait for another process: what it waits for may be sent by a thread that is ready now."""

    @functools.wraps(original)
    def wait(*args: Any, **kwargs: Any) -> Any:
        task = current_task()
        if task is not None:
            task.scheduler.sleep(0)
        return original(*args, **kwargs)

    return wait


def _be_a_process() -> None:
    """In a child that a rank has forked, on its only thread."""
    rank = ranks.current_rank()
    if rank is None:
        return
    tasks_by_ident.clear()
    ranks.forked, primitives.is_child = rank, True
    threads: Any = threading
    threads._active_limbo_lock = threading.RLock()  # that of a moment ago is still a simulated one
    if getattr(threads._main_thread, "_tstate_lock", True) is None:
        threads._main_thread._set_tstate_lock()
    for key in _host_environment.keys() - rank.environment.keys():
        os.unsetenv(key)
    for key, value in rank.environment.items():
        os.putenv(key, value)
    for number, handler in rank.signal_handlers.items():
        with contextlib.suppress(OSError, TypeError, ValueError):
            signal.signal(number, handler)
