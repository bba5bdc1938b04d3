"""`Workers`: interpreters that resume a script from states, one state each at a time, and what goes between.

Each forks for every state, so a resumption is a fresh process; they have not imported torch.  They can be started
before it is known what they resume, for that takes a while.  Guarantees: none of them outlives `close`, or this
process; what was abandoned answers nothing that is asked later.  Not covered: what the worker does
(`faultkit.crash.scripts.worker`), and judging.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import select
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from typing import IO, Any

from faultkit.crash.enumeration.state import State
from faultkit.exceptions import HarnessError

__all__ = ["FAILED", "Tree", "Workers", "receive", "send"]

FAILED = "FAILED"  # in the place of a verdict: faultkit could not resume, and says why

SIZE = struct.Struct("!Q")
END_SECONDS_MAX = 10.0

Tree = dict[str, "bytes | str | None"]


def send(stream: IO[bytes], message: Any) -> None:
    """Write one message."""
    body = pickle.dumps(message, protocol=5)
    stream.write(SIZE.pack(len(body)) + body)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one message.  Raises EOFError where the other end is gone."""
    head = stream.read(SIZE.size)
    if len(head) < SIZE.size:
        raise EOFError
    return pickle.loads(stream.read(SIZE.unpack(head)[0]))


class Workers:
    """`count` interpreters, started at once.  A context manager; raises OSError where they cannot be started."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: list[subprocess.Popen[bytes]] = []
        self._idle: deque[subprocess.Popen[bytes]] = deque()
        self._busy: dict[int, tuple[int, subprocess.Popen[bytes]]] = {}  # by descriptor, with the number
        self._numbers = itertools.count(1)
        self._abandoned: set[int] = set()
        self._turns = os.memfd_create("faultkit-turns")
        try:
            for _ in range(count):
                worker = subprocess.Popen(
                    [sys.executable, "-m", "faultkit.crash.scripts.worker", str(self._turns)],
                    pass_fds=(self._turns,),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C goes to this process alone, which then ends them
                )
                self._workers.append(worker)
                self._idle.append(worker)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and what they resume; they remove their files.  Closing twice is fine."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                _in(worker).close()
        while self._workers:
            worker = self._workers.pop()
            try:
                worker.wait(timeout=END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()
        if self._turns >= 0:
            os.close(self._turns)
            self._turns = -1

    def tell(self, resumption: Any, directory: str, timeout_seconds: float) -> None:
        """Say what they resume, before the first state."""
        for worker in self._workers:
            send(_in(worker), (resumption, directory, timeout_seconds))

    def free(self) -> bool:
        return bool(self._idle)

    def begin(self, state: State) -> int:
        return self.resume(state.tree)

    def resume(self, tree: Tree) -> int:
        """Have a free one resume from `tree`; a number for the answer."""
        worker = self._idle.popleft()
        send(_in(worker), tree)
        number = next(self._numbers)
        self._busy[_out(worker).fileno()] = (number, worker)
        return number

    def finished(self, wait: bool) -> list[tuple[int, Any]]:
        """Answers that have come; with `wait`, it waits for some, be it one that nobody waits for any more."""
        poller = select.poll()
        for descriptor in self._busy:
            poller.register(descriptor, select.POLLIN | select.POLLHUP)
        found = []
        for descriptor, _ in poller.poll(None if wait else 0):
            number, worker = self._busy.pop(descriptor)
            try:
                answer = receive(_out(worker))
            except EOFError:
                raise HarnessError("a process that resumes scripts is gone") from None
            self._idle.append(worker)
            if answer[0] == FAILED:
                raise HarnessError(f"faultkit failed where a state was resumed from: {answer[2]}")
            if number in self._abandoned:
                self._abandoned.remove(number)
            else:
                found.append((number, answer))
        return found

    def abandon(self, numbers: Iterable[int]) -> None:
        """Nobody wants to know of these; their answers are dropped when they come."""
        self._abandoned.update(numbers)


def _in(worker: subprocess.Popen[bytes]) -> IO[bytes]:
    assert worker.stdin is not None
    return worker.stdin


def _out(worker: subprocess.Popen[bytes]) -> IO[bytes]:
    assert worker.stdout is not None
    return worker.stdout
