"""`Loaders`: the processes that load, as ranks of a world without a process group.

Guarantees: `start` returns when all of them wait for jobs, or raises HarnessError; none of them outlives `close`, or
this process.  Not covered: what a job is (`faultkit.crash.loading.load_worker`), who does which
(`faultkit.crash.loading.worker_pool`), and judging.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from faultkit.crash.enumeration.materialise import Objects, Place
from faultkit.crash.loading.load_worker import Job, LoadCall, serve
from faultkit.crash.loading.worker_pool import Answer, WorkerPool
from faultkit.exceptions import HarnessError
from faultkit.processes.channel import Channel, address

if TYPE_CHECKING:
    from faultkit.crash.enumeration.state import State

__all__ = ["Loaders"]

START_SECONDS_MAX = 600.0  # other worlds may have all the slots for a while
RETURN_SECONDS_MAX, END_SECONDS_MAX = 1.0, 30.0
RUN_SECONDS_MAX = 24 * 3600.0
JOBS_AHEAD = 2  # for each process: one that it loads and one that it finds when it is through


class Loaders(WorkerPool):
    """`size` processes that load as `call` says.

    objects: the contents that trees are made of.
    """

    def __init__(self, size: int, call: LoadCall, preload: tuple[str, ...]) -> None:
        super().__init__("a process that loads", "a state was loaded", JOBS_AHEAD, grace_seconds=30.0)
        self._expect_answers_within(call.timeout_seconds)
        self.objects: Objects
        self._size = size
        self._call = call
        self._preload = preload
        self._stack = contextlib.ExitStack()
        self._run_error: BaseException | None = None

    def start(self) -> None:
        """Start the processes.  Raises HarnessError."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes and remove all files.  Closing twice is fine."""
        self._stack.close()

    def begin(self, state: State) -> int:
        """Have the tree of `state` loaded; the number of the job."""
        job = Job(self.number(), self.objects.listing(state.tree))
        self.send(job.number, "job", job)
        return job.number

    def ask(self, job: Job) -> Answer:
        """Do one job now.  Not while others are under way that somebody waits for."""
        self.send(job.number, "job", job)
        while True:
            for number, answer in self.finished(wait=True):
                if number == job.number:
                    return answer

    # -- inside ----------------------------------------------------------------------------------

    def _start(self) -> None:
        from faultkit.worlds import World

        place = self._stack.enter_context(Place())
        self.objects = Objects(place.path / "objects")
        listener = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        socket_path = str(place.path / "judge")
        with address(socket_path) as name:
            listener.bind(name)
        listener.listen(self._size)
        world = World(self._size, kind="fresh", backend="", timeout=RUN_SECONDS_MAX, preload=self._preload)
        thread = threading.Thread(
            target=self._run, args=(world, socket_path), name="faultkit-crash-judge", daemon=True
        )
        thread.start()
        # Popped from the last: the processes return when their channels close, or else die with the world.
        self._stack.callback(thread.join, END_SECONDS_MAX)
        self._stack.callback(world.close)
        self._stack.callback(thread.join, RETURN_SECONDS_MAX)
        self._stack.callback(self._close_channels)
        self._accept(listener, thread)

    def _run(self, world: Any, socket_path: str) -> None:
        from faultkit.runs.outcomes import Raised

        try:
            run = world.run(serve, socket_path, self._call)
            for outcome in run.outcomes.values():
                if isinstance(outcome, Raised):
                    self._run_error = HarnessError(outcome.traceback_text)
        except BaseException as error:
            self._run_error = error

    def _accept(self, listener: socket.socket, thread: threading.Thread) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        listener.settimeout(0.2)
        while self.count < self._size:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                if self._run_error is not None:
                    raise self._run_error from None
                if time.monotonic() > deadline or not thread.is_alive():
                    raise HarnessError("the processes that load did not come up") from None
                continue
            self._add(Channel(connection))

    def _why_gone(self) -> BaseException:
        return self._run_error or super()._why_gone()
