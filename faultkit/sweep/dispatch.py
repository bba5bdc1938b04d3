"""Gives the plans of a sweep to workers, a chunk at a time, and counts what dies.

Guarantees: a plan is in one chunk at a time, and its result is told once.  A chunk has `PLANS_MIN` plans or more,
while there are that many, and so many that it takes about as long as its workers like; towards the end smaller ones,
so that all workers end at about the same time.  The chunk of a worker that died is run again; one that has killed
`DEATHS_MAX` is told and left, and the others go on.  Where a worker takes others with it, who did it is found by
running the suspects one by one. Not covered: a plan that hangs its worker rather than itself: runs have deadlines,
chunks and queues have none.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Any

from faultkit.exceptions import HarnessError
from faultkit.messages import first_line
from faultkit.sweep.chunks import ABSENT, ChunkDone, Travelling
from faultkit.sweep.executors import DEATHS_MAX, Workers
from faultkit.sweep.results import PlanResult

__all__ = ["DEATHS_MAX", "run_chunks"]

PLANS_MIN = 4
PLANS_FIRST = 8
WAIT_SECONDS = 1.0  # between looks for a signal

Indices = tuple[int, ...]


def run_chunks(
    workers: Workers,
    todo: Sequence[int],
    pack: Callable[[Indices], bytes],
    on_done: Callable[[ChunkDone], None],
    on_result: Callable[[int, PlanResult], None],
    on_left: Callable[[Indices], None],
    *,
    sweep: str,
    seconds: Callable[[int], float | None] = lambda index: None,
) -> None:
    """Run the plans of `todo` on `workers`.

    `pack` makes the body of a chunk, when it is given to a worker.  `on_done` hears what came back, `on_result` the
    result of each plan, `on_left` of a chunk that killed too many workers.  `seconds` says how long a plan took
    earlier.

    Raises what a chunk says went wrong on it, HarnessError where the executor itself fails, and KeyboardInterrupt;
    the chunks that run are ended then.
    """
    fresh = deque(todo)
    again: deque[Indices] = deque()
    deaths: dict[Indices, int] = {}
    running: dict[Future[Any], Indices] = {}
    measured = _Measured(workers, seconds)
    travelling = Travelling()

    def take() -> Indices | None:
        if again:
            must_wait = workers.is_broken_as_one and running  # it runs alone, so that nobody else is to blame
            return None if must_wait else again.popleft()
        return measured.chunk(fresh) if fresh else None

    try:
        while fresh or again or running:
            while len(running) < workers.count and (chunk := take()):
                running[_submitted(workers, travelling, pack(chunk))] = chunk
            ended, _ = wait(running, WAIT_SECONDS, FIRST_COMPLETED)
            for future in ended:
                chunk = running.pop(future)
                done, died = _outcome(workers, future)
                if done is None:
                    deaths[chunk] = deaths.get(chunk, 0) + died
                    if deaths[chunk] < DEATHS_MAX:
                        again.append(chunk)
                    else:
                        on_left(chunk)
                    continue
                measured.add(done)
                on_done(done)
                for index, result in zip(chunk, done.results, strict=False):
                    on_result(index, result)
                if done.error is not None:
                    raise done.error
    except BaseException:
        for future in running:
            future.cancel()
        workers.end(sweep)
        raise


def _submitted(workers: Workers, call: Any, body: bytes) -> Future[Any]:
    try:
        return workers.submit(call, body)
    except Exception as error:
        raise HarnessError(
            f"{workers.name} takes no chunk: {type(error).__name__}: {first_line(error)}"
        ) from None


def _outcome(workers: Workers, future: Future[Any]) -> tuple[ChunkDone | None, int]:
    """What came back, or None and how many workers have died of it."""
    try:
        found = future.result()
    except (Exception, CancelledError) as error:
        if died := workers.deaths(error):
            return None, died
        raise HarnessError(f"{workers.name}: {type(error).__name__}: {first_line(error)}") from None
    if isinstance(found, ChunkDone):
        return found, 0
    if isinstance(found, tuple) and found[:1] == (ABSENT,):
        raise HarnessError(f"{found[1]}; what a sweep runs on must have faultkit and torch installed")
    raise HarnessError(f"{workers.name} gave a {type(found).__name__}, not what a chunk came to")


class _Measured:
    """How long plans take, as far as is known, and how many make a chunk."""

    def __init__(self, workers: Workers, seconds: Callable[[int], float | None]) -> None:
        self.workers = workers
        self.seconds = seconds
        self.sum, self.count = 0.0, 0

    def add(self, done: ChunkDone) -> None:
        self.sum += sum(result.seconds for result in done.results)
        self.count += len(done.results)

    def chunk(self, fresh: deque[int]) -> Indices:
        share = math.ceil(len(fresh) / (2 * self.workers.count))
        usual = self.sum / self.count if self.count else None
        chosen: list[int] = []
        took = 0.0
        while fresh and (
            len(chosen) < PLANS_MIN or (len(chosen) < share and took < self.workers.chunk_seconds)
        ):
            one = self.seconds(fresh[0])
            one = usual if one is None else one
            took += self.workers.chunk_seconds / PLANS_FIRST if one is None else one
            chosen.append(fresh.popleft())
        return tuple(chosen)
