"""Each rank has a main thread, and counts and lists the threads that are its own.

Not covered: native thread numbers, which are the host's.
"""

from __future__ import annotations

import concurrent.futures
import functools
import threading
from collections.abc import Callable
from typing import Any

from faultkit.worlds.simulated.core.ranks import Rank, current_rank
from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.process.concurrency_patches import Handle

__all__ = ["adopt_main_thread", "install"]


def install() -> None:
    """Once, in the host."""
    _main_thread()
    replace(threading, "main_thread", _main_of_rank)
    replace(threading, "enumerate", _threads_of_rank)
    replace(threading, "active_count", lambda _: lambda: len(threading.enumerate()))
    # names of threads end with a number: that of the rank, not of the host
    executor: Any = concurrent.futures.ThreadPoolExecutor
    threading._counter = _counting(threading._counter, "thread", 1)  # type: ignore[attr-defined]
    executor._counter = staticmethod(_counting(executor._counter, "executor", 0))


def _main_of_rank(original: Callable[[], threading.Thread]) -> Callable[[], threading.Thread]:
    def main_thread() -> threading.Thread:
        rank = current_rank()
        if rank is None or rank.main is None:
            return original()
        thread: threading.Thread = rank.main.thread
        return thread

    return main_thread


def _threads_of_rank(
    original: Callable[[], list[threading.Thread]],
) -> Callable[[], list[threading.Thread]]:
    def threads() -> list[threading.Thread]:
        rank = current_rank()
        if rank is None:
            return original()
        return [task.thread for task in rank.tasks if task.thread is not None]

    return threads


def _counting(original: Callable[[], int], name: str, first: int) -> Callable[[], int]:
    def count() -> int:
        rank = current_rank()
        if rank is None:
            return original()
        number = rank.generators.get(name, first)
        rank.generators[name] = number + 1
        return int(number)

    return count


def adopt_main_thread(rank: Rank) -> None:
    """Make the calling thread the main thread of its rank, as far as Python code can see."""
    main = rank.main
    assert main is not None
    thread = threading.Thread.__new__(threading.Thread)
    thread.__dict__.update(_main_thread().__dict__)
    thread._ident = main.ident  # type: ignore[attr-defined]
    if hasattr(thread, "_handle"):  # from Python 3.13 on
        thread._handle = Handle(main.ident)
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
