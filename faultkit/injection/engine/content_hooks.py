"""Hooks beneath the entry points of the engine: what a save was given, and what a load left unfilled, as events.

Not covered: what is compared with what (`faultkit.injection.engine.content` says what is kept of a state).
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from torch.distributed.checkpoint.stateful import Stateful

from faultkit.injection.carried import carried
from faultkit.injection.engine import content, overwritten
from faultkit.injection.engine.application import Application
from faultkit.injection.engine.attempts import Attempt, Attempts
from faultkit.injection.engine.leaves import named
from faultkit.injection.engine.loads import Load, LoadWatch
from faultkit.injection.engine.objects import Arguments

OF_LOADS = ("application", "unread")  # the checks that look at loads

__all__ = ["tell_later_state", "watched_load", "watched_request", "watched_save", "watched_states"]


def watched_states(attempts: Attempts, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note what an asynchronous save is given, before it is staged: what staging loses is lost."""

    @functools.wraps(original)
    def entered(*args: Any, **kwargs: Any) -> Any:
        state = original(*args, **kwargs)
        attempt = attempts.beginning
        if attempt is not None and _is_wanted(attempts):
            attempt.is_given, attempt.given = True, content.fingerprint(state, attempt.planner)
            if "snapshot" in attempts.session.watches and args:
                attempt.source = (args[0], state)
        return state

    return entered


def tell_later_state(attempts: Attempts, attempt: Attempt) -> None:
    """Record what has become of the state that an asynchronous save was given, where that is another by now.

    Elements that hand over a state of their own are not asked again: it is the job's own, and goes on.
    """
    session = attempts.session
    if attempt.source is None or attempt.given is None or session.closed:
        return
    original, handed_over = attempt.source
    with contextlib.suppress(Exception):  # the job changes it meanwhile
        now = {
            key: handed_over.get(key) if isinstance(value, Stateful) else value
            for key, value in original.items()
        }
        leaves = content.fingerprint(now, attempt.planner)
        if leaves is not None and leaves != attempt.given:
            changed = {name: told for name, told in leaves.items() if told != attempt.given.get(name)}
            session.record("later", attempt=attempt.number, leaves=changed)


def watched_save(attempts: Attempts, original: Callable[..., Any]) -> Callable[..., Any]:
    """Record what the save was given, where somebody wants to compare it with what is then stored."""
    arguments = Arguments(original)

    @functools.wraps(original)
    def entered(*args: Any, **kwargs: Any) -> Any:
        attempt = attempts.current
        if attempt is not None and _is_wanted(attempts):
            writer = arguments.get("storage_writer", args, kwargs)
            own = carried(writer)
            path = content.place_of(own.inner if own is not None else writer)
            attempts.session.record(
                "content",
                attempt=attempt.number,
                path=path,
                group=attempt.group,
                of_rank=_rank_of_its_own(arguments, args, kwargs),
                leaves=attempt.given
                if attempt.is_given
                else content.fingerprint(
                    arguments.get("state_dict", args, kwargs), arguments.get("planner", args, kwargs)
                ),
            )
            tell_later_state(attempts, attempt)
        return original(*args, **kwargs)

    return entered


def watched_request(attempts: Attempts, original: Callable[..., Any]) -> Callable[..., Any]:
    """Record what a save in another process was given, which is not seen where it is made."""
    arguments = Arguments(original)

    @functools.wraps(original)
    def entered(*args: Any, **kwargs: Any) -> Any:
        attempt = attempts.current
        if attempt is not None and attempt.is_given and _is_wanted(attempts):
            storage = arguments.get("storage_writer", args, kwargs)
            own = carried(storage)
            storage = own.inner if own is not None else storage
            checkpoint_id = arguments.get("checkpoint_id", args, kwargs)
            path = content.place_of(storage)
            if storage is None and isinstance(checkpoint_id, str | os.PathLike):
                path = os.path.abspath(os.fsdecode(checkpoint_id))
            of_rank = _rank_of_its_own(arguments, args, kwargs)
            attempts.session.record(
                "content",
                attempt=attempt.number,
                path=path,
                group=attempt.group,
                of_rank=of_rank,
                leaves=attempt.given,
            )
            tell_later_state(attempts, attempt)
        return original(*args, **kwargs)

    return entered


def _is_wanted(attempts: Attempts) -> bool:
    """Whether somebody will ask what a save was given: to compare it with what is stored, or rank with rank."""
    session = attempts.session
    return (session.is_content_wanted or "replicas" in session.watches) and not session.closed


def _rank_of_its_own(arguments: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """The rank in the group under which a save without collectives stores this rank's part; None of any other."""
    if arguments.get("use_collectives", args, kwargs, True):
        return None
    if arguments.get("no_dist", args, kwargs, False) or not dist.is_initialized():
        return 0
    return dist.get_rank(arguments.get("process_group", args, kwargs))


def watched_load(
    attempts: Attempts, watch: LoadWatch, application: Application, original: Callable[..., Any]
) -> Callable[..., Any]:
    """Record what a load that came back well left as it was, what it did not ask for, and what it gave back."""
    arguments = Arguments(original)

    @functools.wraps(original)
    def entered(*args: Any, **kwargs: Any) -> Any:
        attempt = attempts.current
        if attempt is None or attempts.session.closed:
            return original(*args, **kwargs)
        names = ("state_dict", "planner", "storage_reader")
        state, planner, reader = (arguments.get(name, args, kwargs) for name in names)
        own = carried(reader)
        if own is not None and own.inner is None:  # it promises to read nothing
            return original(*args, **kwargs)
        report = functools.partial(_record_unfilled, attempts, attempt.number)
        failed = functools.partial(_record_overwritten, attempts)
        wanted = not attempts.session.watches.isdisjoint(OF_LOADS)
        load = watch.begin(reader, planner) if wanted else None
        before = named(state) if application.is_wanted else {}
        try:
            with content.watching_targets(state, planner, report, failed):
                result = original(*args, **kwargs)
        finally:
            if load is not None:
                watch.end(load)
        if load is not None and load.held is not None:
            if "unread" in attempts.session.watches:
                _record_read(attempts, attempt.number, load)
            if application.is_wanted:
                application.note(attempt.number, load, state, before)
        return result

    return entered


def _record_overwritten(attempts: Attempts, leaves: list[str], count: int, error: BaseException) -> None:
    overwritten.record(attempts.session, leaves, count, error, by="engine")


def _record_read(attempts: Attempts, attempt: int, load: Load) -> None:
    attempts.session.record(
        "read",
        attempt=attempt,
        path=load.path,
        own=load.is_own,
        partial=load.is_partial,
        unread=load.unread,
    )


def _record_unfilled(attempts: Attempts, attempt: int, holes: list[list[Any]]) -> None:
    attempts.session.record("unfilled", attempt=attempt, leaves=holes)
