"""`WorkerPool`: processes that each answer one job after the other, at the other end of a channel.

Guarantees: a job goes to the process that has fewest; an answer to a job that was abandoned is dropped; a process that
is gone, that says `FAILED`, or that is silent for longer than its jobs may take, is a HarnessError.  Not covered: how
the processes are started and ended, and what a job is: `faultkit.crash.loading.load_pool` has ranks of a world that
load, `faultkit.crash.scripts.pool` interpreters that resume.
"""

from __future__ import annotations

import itertools
import select
from collections.abc import Iterable
from typing import Any

import msgspec

from faultkit.crash.loading.patience import FACTOR_MAX
from faultkit.exceptions import HarnessError
from faultkit.processes.channel import Channel, ChannelClosed

__all__ = ["ANSWER_SECONDS_MAX", "FAILED", "Answer", "WorkerPool"]

FAILED = "FAILED"  # in the place of a verdict: `detail` says what faultkit could not do

ANSWER_SECONDS_MAX = 24 * 3600.0  # for a process to be rid of an answer: who waits for it ends it


class Answer(msgspec.Struct, frozen=True):
    """What became of a job; verdict "VALUES" where `values` are what was asked for.

    questions: what was asked of the tree, None where nobody could look on.
    """

    number: int
    verdict: str
    type_name: str = ""
    message: str = ""
    detail: str = ""
    stack: str = ""
    questions: list[tuple[Any, ...]] | None = None
    opaque: bool = False
    wrote: bool = False
    values: Any = b""
    sides: tuple[str, ...] = ()
    step: int = -1


class WorkerPool:
    """Processes of which each may have `jobs_ahead` jobs.

    what: one of them, in words.  work: when it fails, in words.  grace_seconds: how long they may be silent beyond
    what their jobs may take.
    """

    def __init__(self, what: str, work: str, jobs_ahead: int, *, grace_seconds: float) -> None:
        self._what = what
        self._work = work
        self._jobs_ahead = jobs_ahead
        self._silent_seconds_max = self._grace_seconds = grace_seconds
        self._channels: list[Channel] = []
        self._busy: list[list[int]] = []
        self._numbers = itertools.count(1)
        self._abandoned: set[int] = set()

    @property
    def count(self) -> int:
        return len(self._channels)

    def number(self) -> int:
        """A new number for a job."""
        return next(self._numbers)

    def free(self) -> bool:
        """Whether one more job would be begun soon."""
        return min(map(len, self._busy)) < self._jobs_ahead

    def tell(self, *message: Any) -> None:
        """Say something to all of them."""
        for place in range(self.count):
            self._send(place, message)

    def send(self, number: int, *job: Any) -> None:
        """Give a job to the process that has fewest."""
        place = min(range(self.count), key=lambda place: len(self._busy[place]))
        self._busy[place].append(number)
        self._send(place, job)

    def finished(self, wait: bool) -> list[tuple[int, Answer]]:
        """Answers that have come, with the numbers of their jobs.

        With `wait`, it waits for some, be it one that nobody waits for any more.  Raises HarnessError.
        """
        poller = select.poll()
        places = {channel.fileno(): place for place, channel in enumerate(self._channels)}
        for descriptor in places:
            poller.register(descriptor, select.POLLIN)
        ready = poller.poll(self._silent_seconds_max * 1000 if wait else 0)
        if wait and not ready:
            raise HarnessError(f"{self._what} gave no answer within {self._silent_seconds_max:g} s")
        found: list[tuple[int, Answer]] = []
        for descriptor, _ in ready:
            try:
                answers: list[Answer] = self._channels[places[descriptor]].receive_ready()
            except ChannelClosed:
                raise self._why_gone() from None
            for answer in answers:
                self._busy[places[descriptor]].remove(answer.number)
                if answer.number in self._abandoned:
                    self._abandoned.remove(answer.number)
                elif answer.verdict == FAILED:
                    raise HarnessError(f"faultkit failed where {self._work}: {answer.detail}")
                else:
                    found.append((answer.number, answer))
        return found

    def abandon(self, numbers: Iterable[int]) -> None:
        """Nobody waits for these jobs any more."""
        self._abandoned.update(numbers)

    # -- for those who start the processes ---------------------------------------------------------

    def _add(self, channel: Channel) -> None:
        self._channels.append(channel)
        self._busy.append([])

    def _expect_answers_within(self, timeout_seconds: float) -> None:
        """Each job is tried twice, and as many of others, where a machine gives them hardly a core."""
        own_seconds_max = timeout_seconds * FACTOR_MAX * 2
        self._silent_seconds_max = own_seconds_max * (self._jobs_ahead + 1) + self._grace_seconds

    def _send(self, place: int, message: Any) -> None:
        try:  # which it reads when it is through with what it has
            self._channels[place].send(message, timeout_seconds=self._silent_seconds_max)
        except ChannelClosed:
            raise self._why_gone() from None

    def _why_gone(self) -> BaseException:
        return HarnessError(f"{self._what} is gone")

    def _close_channels(self) -> None:
        for channel in self._channels:
            channel.close()
        self._channels, self._busy = [], []
