"""`Loaders`: the processes that load, as ranks of a world without a process group, and what goes between.

Guarantees: `start` returns when all of them wait for jobs, or raises HarnessError; none of them outlives `close`, or
this process.  An answer to a job that was abandoned is dropped.  Not covered: what a job is, and judging.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from faultkit.crash.enumeration.materialise import Objects, Place
from faultkit.crash.loading.load_worker import FAILED, Answer, Job, LoadCall, serve
from faultkit.crash.loading.patience import FACTOR_MAX

if TYPE_CHECKING:
    from faultkit.crash.enumeration.state import State
    from faultkit.processes.channel import Channel

__all__ = ["Loaders"]

START_SECONDS_MAX = 600.0  # other worlds may have all the slots for a while
RETURN_SECONDS_MAX, END_SECONDS_MAX = 1.0, 30.0
RUN_SECONDS_MAX = 24 * 3600.0
JOBS_AHEAD = 2  # for each process: one that it loads and one that it finds when it is through


class Loaders:
    """`count` processes that load as `call` says.

    objects: the contents that trees are made of.  number(): a new number for a job.
    """

    def __init__(self, count: int, call: LoadCall, preload: tuple[str, ...]) -> None:
        self.count = count
        self.objects: Objects
        self._call = call
        self._preload = preload
        self._stack = contextlib.ExitStack()
        self._channels: list[Channel] = []
        self._busy: list[list[int]] = []
        self._numbers = itertools.count(1)
        self._abandoned: set[int] = set()
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

    def number(self) -> int:
        return next(self._numbers)

    def free(self) -> bool:
        """Whether one more job would be begun soon."""
        return min(map(len, self._busy)) < JOBS_AHEAD

    def send(self, job: Job) -> None:
        """Give a job to the process that has fewest."""
        worker = min(range(self.count), key=lambda place: len(self._busy[place]))
        self._busy[worker].append(job.number)
        self._channels[worker].send(("job", job))

    def begin(self, state: State) -> int:
        """Have the tree of `state` loaded; the number of the job."""
        job = Job(self.number(), self.objects.listing(state.tree))
        self.send(job)
        return job.number

    def finished(self, wait: bool) -> list[tuple[int, Answer]]:
        """Answers that have come, with the numbers of their jobs; see `answers`."""
        return [(answer.number, answer) for answer in self.answers(wait)]

    def tell(self, *message: Any) -> None:
        """Say something to all of them."""
        for channel in self._channels:
            channel.send(message)

    def ask(self, job: Job) -> Answer:
        """Do one job now.  Not while others are under way that somebody waits for."""
        self.send(job)
        while True:
            for answer in self.answers(wait=True):
                if answer.number == job.number:
                    return answer

    def abandon(self, numbers: Iterable[int]) -> None:
        """Nobody waits for these jobs any more."""
        self._abandoned.update(numbers)

    def answers(self, wait: bool) -> list[Answer]:
        """Answers that have come; with `wait`, it waits for some, be it one that nobody waits for any more."""
        from faultkit.exceptions import HarnessError
        from faultkit.processes.channel import ChannelClosed

        # each twice, and as many of others, where a machine gives them hardly a core
        seconds = self._call.timeout_seconds * FACTOR_MAX * 2 * (JOBS_AHEAD + 1) + 30.0 if wait else 0.0
        poller = select.poll()
        numbers = {channel.fileno(): place for place, channel in enumerate(self._channels)}
        for descriptor in numbers:
            poller.register(descriptor, select.POLLIN)
        ready = poller.poll(seconds * 1000)
        if wait and not ready:
            raise HarnessError(f"a process that loads gave no answer within {seconds:g} s")
        found: list[Answer] = []
        for descriptor, _ in ready:
            worker = numbers[descriptor]
            try:
                messages = self._channels[worker].receive_ready()
            except ChannelClosed:
                raise self._run_error or HarnessError("a process that loads is gone") from None
            for _, answer in messages:
                self._busy[worker].remove(answer.number)
                if answer.number in self._abandoned:
                    self._abandoned.remove(answer.number)
                elif answer.verdict == FAILED:
                    raise HarnessError(f"faultkit failed where a state was loaded: {answer.detail}")
                else:
                    found.append(answer)
        return found

    # -- inside ----------------------------------------------------------------------------------

    def _start(self) -> None:
        from faultkit.processes.channel import address
        from faultkit.worlds import World

        place = self._stack.enter_context(Place())
        self.objects = Objects(place.path / "objects")
        listener = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        socket_path = str(place.path / "judge")
        with address(socket_path) as name:
            listener.bind(name)
        listener.listen(self.count)
        world = World(self.count, kind="fresh", backend="", timeout=RUN_SECONDS_MAX, preload=self._preload)
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
        from faultkit.exceptions import HarnessError
        from faultkit.runs.outcomes import Raised

        try:
            run = world.run(serve, socket_path, self._call)
            for outcome in run.outcomes.values():
                if isinstance(outcome, Raised):
                    self._run_error = HarnessError(outcome.traceback_text)
        except BaseException as error:
            self._run_error = error

    def _accept(self, listener: socket.socket, thread: threading.Thread) -> None:
        from faultkit.exceptions import HarnessError
        from faultkit.processes.channel import Channel

        deadline = time.monotonic() + START_SECONDS_MAX
        listener.settimeout(0.2)
        while len(self._channels) < self.count:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                if self._run_error is not None:
                    raise self._run_error from None
                if time.monotonic() > deadline or not thread.is_alive():
                    raise HarnessError("the processes that load did not come up") from None
                continue
            self._channels.append(Channel(connection))
            self._busy.append([])

    def _close_channels(self) -> None:
        for channel in self._channels:
            channel.close()
        self._channels = []
