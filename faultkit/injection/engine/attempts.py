"""Attempts: one save or one load of the engine, from its start until it returned or raised.

Guarantees: each is recorded where it begins, with its coordinator and, where it is not of the whole world, its ranks,
and once where it ends; a thread knows which one it carries out.  Not covered: which calls are one
(`faultkit.injection.engine.hooks`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import torch.distributed as dist

from faultkit.injection.engine.objects import Arguments
from faultkit.injection.errors import describe
from faultkit.injection.session import Session

__all__ = ["EVENT_MESSAGE_LENGTH_MAX", "Attempt", "Attempts"]

EVENT_MESSAGE_LENGTH_MAX = 2_000


class Attempt:
    """The `number`-th attempt of a run, which is a save or a load, as `op` says."""

    __slots__ = ("given", "group", "is_given", "number", "op", "over", "planner", "source")

    def __init__(self, op: str, number: int) -> None:
        self.op, self.number, self.over = op, number, False
        self.group: list[int] | None = None  # its ranks, where it is not of the whole world
        self.planner: Any = None
        self.is_given = False
        self.given: Any = None  # what an asynchronous save was given, when it was called
        self.source: Any = None  # that itself, of which the caller goes on to change what he likes


class Attempts:
    """The attempts of one session at a time, and which of them each thread is in."""

    def __init__(self, session: Session) -> None:
        self.serve(session)
        _all.add(self)

    def serve(self, session: Session) -> None:
        """From now on they are those of `session`, from the beginning."""
        self.session = session
        self.lock = threading.Lock()
        self._thread = threading.local()

    @property
    def current(self) -> Attempt | None:
        """The one that the calling thread carries out."""
        return getattr(self._thread, "attempt", None)

    @property
    def beginning(self) -> Attempt | None:
        """The asynchronous save that the calling thread hands over."""
        return getattr(self._thread, "beginning", None)

    @beginning.setter
    def beginning(self, attempt: Attempt | None) -> None:
        self._thread.beginning = attempt

    @property
    def is_taking(self) -> bool:
        """Whether an object takes a state on the calling thread."""
        return getattr(self._thread, "taking", False)

    @contextlib.contextmanager
    def taking(self) -> Iterator[None]:
        """Meanwhile an object takes a state on the calling thread, or is asked for it."""
        outer, self._thread.taking = self.is_taking, True
        try:
            yield
        finally:
            self._thread.taking = outer

    def carry_out(self, attempt: Attempt, call: Callable[[], Any]) -> Any:
        """Make the call as part of `attempt`, which is over when it is."""
        self._thread.attempt = attempt
        try:
            result = call()
        except BaseException as error:
            self.end(attempt, error)
            raise
        finally:
            self._thread.attempt = None
        self.end(attempt, None)
        return result

    def begin(self, op: str, arguments: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Attempt:
        with self.lock:
            number = self.session.attempt_count = self.session.attempt_count + 1
            attempt = Attempt(op, number)
        try:
            coordinator = self.see_coordinator(arguments, args, kwargs)
            ranks = attempt.group = self.part_of_the_world(arguments, args, kwargs)
        except Exception as error:
            self.session.suspect(error)
            raise
        group = {} if ranks is None else {"ranks": ranks}
        self.session.record("attempt_begin", op=op, coordinator=coordinator, attempt=attempt.number, **group)
        return attempt

    def part_of_the_world(
        self, arguments: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[int] | None:
        """The ranks of this attempt in the order of its group; None where it is of the whole world, or nobody knows."""
        size = self.session.world_size
        if size > 1 and arguments.get("no_dist", args, kwargs, False):
            return [self.session.rank]
        group = arguments.get("process_group", args, kwargs)
        if group is None:
            return None
        try:
            ranks = dist.get_process_group_ranks(group)
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError):
            return None
        return None if ranks == list(range(size)) else ranks

    def end(self, attempt: Attempt, error: BaseException | None) -> None:
        with self.lock:
            if attempt.over:
                return
            attempt.over = True
        if error is None:
            self.session.recovery.settle()
        data: dict[str, Any] = {"op": attempt.op, "attempt": attempt.number, "ok": error is None}
        if error is not None and not self.session.closed:
            record = describe(error, tracebacks=False, message_length_max=EVENT_MESSAGE_LENGTH_MAX)
            data["error"] = msgspec.to_builtins(record)
            self.session.suspect(error)
        self.session.record("attempt_end", **data)

    def see_coordinator(self, arguments: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """The coordinator's rank in the group of this attempt; the session learns its rank in the world."""
        no_dist = arguments.get("no_dist", args, kwargs, False)
        if no_dist or not (dist.is_available() and dist.is_initialized()):
            self.session.coordinator = self.session.rank
            return 0
        in_group = in_world = arguments.get("coordinator_rank", args, kwargs, 0)
        group = arguments.get("process_group", args, kwargs)
        if group is not None:
            try:
                in_world = dist.get_global_rank(group, in_group)
            except (RuntimeError, ValueError, TypeError, AttributeError):
                pass  # the engine will say what is wrong with the group
        self.session.coordinator = in_world
        return in_group


_all: weakref.WeakSet[Attempts] = weakref.WeakSet()


def _be_of_child() -> None:
    """In a process that was just forked: no thread of it holds a lock that one of its parent may have held."""
    for attempts in _all:
        attempts.lock = threading.Lock()


os.register_at_fork(after_in_child=_be_of_child)
