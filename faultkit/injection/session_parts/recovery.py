"""Errors that were injected into operations on files, each until what makes good for it is seen.

Guarantees: what makes good is recorded as a call of the same point that went well, once for each error: the same call
on the same file, or, for an error in a stream, the file opened anew for the same, or, whichever way it was done, the
change itself (`faultkit.injection.session_parts.remedies`).  Not covered: errors in anything but files.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from faultkit.injection.session_parts.remedies import remedy
from faultkit.plan import Fault
from faultkit.plan.points import STREAM_POINTS

__all__ = ["Recovery", "site_data"]


class _Failure(NamedTuple):
    """An error that was injected into an operation on a file, until the same is seen to go well."""

    point: str
    site: str
    path: str
    call: int
    thread: int
    opens: str  # an open for this makes good for it: "r", "w" or, for either, "rw"
    again: bool  # the call was interrupted: who calls it again does what is right
    is_done: Callable[[], bool] | None  # whether what was to be done is done, whichever way


class Recovery:
    """The errors of one session that nothing has made good for yet.

    `record` takes the ``called`` events; `refresh` takes in what fired below Python, before anything is looked up.
    """

    def __init__(self, record: Callable[..., None], refresh: Callable[[], None]) -> None:
        self._record, self._refresh = record, refresh
        self._failures: list[_Failure] = []

    def expect(self, fault: Fault, data: dict[str, Any], opened: str, target: str = "") -> None:
        """`fault`, of files, raised an error: `data` is its ``fired`` event, `opened` what its file was opened for."""
        where = fault.point, data.get("site", fault.point), data["path"], data["call"]
        is_done = remedy(fault.point, data["path"], target)
        opens = _opens_again(fault.name, opened)
        self._failures.append(
            _Failure(*where, threading.get_ident(), opens, fault.action.is_repeated, is_done)
        )

    def has_unrecovered_error(self, point: str, path: str, opened: str) -> bool:
        """Whether an error of `point` there stands that an open for `opened` does not make good for."""
        self._refresh()
        return any(
            failure.point == point and failure.path == path and not set(failure.opens) & set(opened)
            for failure in self._failures
        )

    def record_recovery(self, point: str, path: str, opened: str = "w") -> None:
        """Record for each error injected before that this call is what makes good for it.

        An error in a stream is made good for by opening the file anew for the same, be it to write or to read, or,
        where the call was only interrupted, by the same call; any other by the same call on the same file.  A directory
        that could not be made is there once a file in it is written.  `opened` is what the file was opened for.
        """
        self._refresh()
        for failure in tuple(self._failures):
            if failure.point == "fs.mkdir" and "w" in opened and os.path.dirname(path) == failure.path:
                self._make_good(failure)
            if failure.path != path:
                continue
            if point in ("fs.open", "fs.create_stream"):
                is_good = bool(set(failure.opens) & set(opened))
            else:
                is_good = failure.point == point and (
                    point.partition(".")[2] not in STREAM_POINTS
                    or (failure.again and failure.thread == threading.get_ident())
                )
            if is_good:
                self._make_good(failure)

    def settle(self) -> None:
        """Record for each injected error that what was to be done is done by now, if it is, in some other way.

        To be called before a step, an attempt or the function ends well on this rank: an error is made good for where
        it happened, and by whoever did not pass it on.
        """
        for failure in tuple(self._failures):
            if failure.is_done is not None and failure.is_done():
                self._make_good(failure)

    def expect_directory(self, path: str) -> None:
        """A directory is to be made at `path`: whoever could not look that up asks in another way.

        It is made good for once that is over, if a directory is there: an error that says that there is one already may
        be passed on, and another may be swallowed, too.
        """
        for failure in tuple(self._failures):
            if failure.path == path and failure.point in ("fs.stat", "fs.exists") and failure.is_done is None:
                with contextlib.suppress(ValueError):  # another thread made it good
                    self._failures.remove(failure)
                    self._failures.append(failure._replace(is_done=remedy("fs.mkdir", path)))

    def _make_good(self, failure: _Failure) -> None:
        with contextlib.suppress(ValueError):  # another thread did
            self._failures.remove(failure)
            where = {"path": failure.path, **site_data(failure.point, failure.site)}
            self._record("called", point=failure.point, call=failure.call + 1, ok=True, **where)


def site_data(point: str, site: str) -> dict[str, str]:
    """What an event says of the site of a call, where that is more than its point."""
    return {"site": site} if site != point else {}


def _opens_again(name: str, opened: str) -> str:
    """What a file has to be opened for, to make good for an error in `name` while it was `opened`."""
    if name in ("stat", "listdir", "exists"):
        return "rw"
    if name == "read" or (name in ("open", "create_stream", "seek", "close") and "w" not in opened):
        return "r"
    return "w"
