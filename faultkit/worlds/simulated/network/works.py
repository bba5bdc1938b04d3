"""What a call of torch.distributed returns on a simulated rank: a work that is waited for in the scheduler.

Not covered: the call itself (`network`), and streams of devices.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from time import thread_time
from typing import Any

import torch
from torch._C._distributed_c10d import Work

from faultkit.hooks import collectives
from faultkit.worlds.simulated.core.scheduler import Task, current_task
from faultkit.worlds.simulated.network.data_parallel import is_in_backward
from faultkit.worlds.simulated.network.operations import Operation
from faultkit.worlds.simulated.network.store_arguments import duration

__all__ = [
    "NO_TIMEOUT",
    "UNSET_TIMEOUT",
    "LaterWork",
    "SeveralWorks",
    "SimulatedWork",
    "nanoseconds",
    "required_task",
]

NANOSECONDS = 1_000_000_000
NO_TIMEOUT = datetime.timedelta(0)
UNSET_TIMEOUT = datetime.timedelta(milliseconds=-1)
RECEIVES = ("recv", "recv_anysource")


def required_task() -> Task:
    task = current_task()
    if task is None:
        raise RuntimeError("a process group of a simulated rank was used by a thread that is not simulated")
    return task


def nanoseconds(time: Any) -> int:
    return int(time.total_seconds() * NANOSECONDS)


class SimulatedWork(Work):
    """One call under way."""

    def __init__(self, op: Operation) -> None:
        super().__init__()
        self._op = op

    def wait(self, timeout: datetime.timedelta | float = NO_TIMEOUT) -> bool:
        op, task = self._op, required_task()
        timeout = duration("wait", timeout)
        if not op.done:
            began = thread_time()
            try:
                self._block(task, timeout)
            finally:
                task.scheduler.own_seconds += thread_time() - began
        if op.error is not None:
            raise op.error.with_traceback(None)
        return True

    def __del__(self) -> None:
        """Where nobody keeps the work of a message under way, gloo has no buffer for it any more."""
        op = getattr(self, "_op", None)
        if op is not None and not op.sequence:
            op.is_dropped = True

    def _block(self, task: Task, timeout: datetime.timedelta) -> None:
        """Wait; a time limit is no sign of life, so where nobody else can go on it does not end the wait."""
        op, scheduler = self._op, task.scheduler
        deadline_ns = None
        if timeout > NO_TIMEOUT:
            deadline_ns = scheduler.now_ns + nanoseconds(timeout)
        task.label = collectives.label_of_thread()
        while not op.done:
            op.waiters.append(task)
            if not scheduler.block(op, deadline_ns, patient=True) and not op.done:
                op.waiters.remove(task)
                raise RuntimeError("Operation timed out!")

    def is_completed(self) -> bool:
        if self._op.done:
            return True
        scheduler = required_task().scheduler
        scheduler.pause(("poll", self._op), is_look=True)
        found = self._op.done
        if not found:
            scheduler.found_nothing()
        return found

    def is_success(self) -> bool:
        return self._op.done and self._op.error is None

    def exception(self) -> Any:
        return self._op.error

    def result(self) -> list[Any]:
        if not self._op.sequence:
            raise RuntimeError("result() not implemented.")
        if not self._op.done:
            raise RuntimeError(
                "Work needs to be completed before calling result(). Should call wait() before result()."
            )
        return self._op.data.result()

    def synchronize(self) -> None:
        self.wait()

    def _source_rank(self) -> int:
        if self._op.kind not in RECEIVES:
            raise RuntimeError(
                "sourceRank() may only be called on work objects that correspond to a recv or recv-from-any call."
            )
        return self._op.peer

    source_rank = _source_rank

    def get_future(self) -> Any:
        op = self._op
        if not op.sequence:
            raise RuntimeError("Work::getFuture not implemented.")
        if is_in_backward():
            self.wait()
        if op.future is None:
            op.future = torch.futures.Future()
            if op.done and op.error is None:
                op.future.set_result(self.result())
            elif op.done:
                op.future.set_exception(op.error)
        return op.future


class SeveralWorks(Work):
    """Several calls, seen as one."""

    def __init__(self, works: list[SimulatedWork]) -> None:
        super().__init__()
        self._works = works

    def wait(self, timeout: Any = NO_TIMEOUT) -> bool:
        for work in self._works:
            work.wait(timeout)
        return True

    def is_completed(self) -> bool:
        return all(work.is_completed() for work in self._works)

    def is_success(self) -> bool:
        return all(work.is_success() for work in self._works)

    def exception(self) -> Any:
        return next((work.exception() for work in self._works if work.exception() is not None), None)

    def result(self) -> list[Any]:
        return [tensor for work in self._works for tensor in work.result()]

    def synchronize(self) -> None:
        self.wait()

    def get_future(self) -> Any:
        return torch.futures.collect_all([work.get_future() for work in self._works])


class LaterWork(Work):
    """Calls that are followed by something when they are waited for, and that tell nothing before."""

    def __init__(self, works: list[SimulatedWork], then: Callable[[], Any] = bool) -> None:
        super().__init__()
        self._works, self._then = works, then

    def wait(self, timeout: Any = NO_TIMEOUT) -> bool:
        for work in self._works:
            work.wait()
        self._then()
        return True

    def is_completed(self) -> bool:
        required_task().scheduler.pause(("poll", self._works[0]._op), demote=True)
        return False

    def is_success(self) -> bool:
        return True

    def result(self) -> list[Any]:
        raise RuntimeError("result() not implemented.")

    def synchronize(self) -> None:
        self.wait()

    def get_future(self) -> Any:
        raise RuntimeError("Work::getFuture not implemented.")
