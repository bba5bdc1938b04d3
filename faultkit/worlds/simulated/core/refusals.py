"""What simulated ranks cannot do: waiting in C for one another.  It ends the run with the reason, never with a verdict.

A rank that waits in C (asyncio, sockets, pipes, locks of other processes) keeps its turn, so that whoever could end
the wait never gets one.  An event loop and a socket that listens are refused where they begin.  Any other wait in C is
recognised when the run's real time is over: the thread whose turn it is then sleeps in a call of the system.  Such a
wait is a wait, not a hang: it may end outside of the ranks.

Not covered: a loop that computes for ever, which is called HUNG at the deadline, as on processes.
"""

from __future__ import annotations

import asyncio.base_events
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from faultkit.processes.procfs import sleeps_in_c
from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.core.scheduler import Scheduler, current_task

__all__ = ["NEAREST", "install", "look_for_wait"]

NEAREST = "nearest is a world of kind 'fresh'"
LOOKS, LOOK_SECONDS = 3, 0.02


def install() -> None:
    """Once, in the host."""
    replace(asyncio.base_events.BaseEventLoop, "run_forever", _running)
    replace(socket.socket, "listen", _listening)


def look_for_wait(scheduler: Scheduler) -> None:
    """Refuse the run, whose real time is over, where the thread whose turn it is waits in C."""
    task = scheduler.current
    for _ in range(LOOKS):
        if task is None or not sleeps_in_c(task.native_id):
            return
        time.sleep(LOOK_SECONDS)
    assert task is not None
    frame = sys._current_frames().get(task.ident)
    place = f" at {frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})" if frame else ""
    scheduler.refusal = (
        f"rank {task.rank.number} waits in C{place}, where simulated ranks cannot take turns; {NEAREST}"
    )


def _running(original: Callable[..., Any]) -> Callable[..., Any]:
    def run_forever(self: Any) -> Any:
        task = current_task()
        if task is None:
            return original(self)
        return task.scheduler.refuse(
            f"rank {task.rank.number} runs asyncio, whose event loop waits in C, where simulated ranks cannot take "
            f"turns; {NEAREST}"
        )

    return run_forever


def _listening(original: Callable[..., Any]) -> Callable[..., Any]:
    def listen(self: Any, *backlog: int) -> Any:
        task = current_task()
        if task is None or self.family not in (socket.AF_INET, socket.AF_INET6):
            return original(self, *backlog)
        return task.scheduler.refuse(
            f"rank {task.rank.number} listens on a socket, for which others would wait in C, where simulated ranks "
            f"cannot take turns; {NEAREST}"
        )

    return listen
