"""Faults of layer ``fs`` at the engine's own file interface, FileSystemBase: for every kind of storage.

`call_file_system` makes one call of a method of a file system: it counts it for the faults that mean its file and
its thread, and does what they say.  The stream that ``create_stream`` opens is wrapped where a fault means what is
done with it and nothing below can do it: all its operations where the storage is no local file (memory, S3 and
what else fsspec has), only flush and seek where it is one, since `faultkit.injection.files.raw` sees the rest.

A stream that is cut is read as before up to where it ends; what is damaged otherwise, or old, is shown from a copy of
the whole.  Not covered: what is done with a stream that is open (`faultkit.injection.files.faulty_stream`), and what a
storage of several parts does with its parts.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable
from typing import Any

from faultkit.injection.files.cut_streams import cut_off
from faultkit.injection.files.data import opened_view
from faultkit.injection.files.faulty_stream import FaultyStream, fire_after, fire_before
from faultkit.injection.files.raw import PEEKING, missing, quietly
from faultkit.injection.session import Match, Session
from faultkit.plan.points import STREAM_POINTS

__all__ = ["call_file_system"]

_SEEN_BELOW = ("read", "write", "truncate", "close")
_POINT_OF = {"ls": "fs.listdir"}
_SHOWN_AS_STREAM = {"cut": cut_off}  # where no copy of the whole is needed


def call_file_system(
    session: Session, name: str, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``call(*args, **kwargs)``, the method `name` of a file system, with what the plan does to it."""
    if session.threads.is_inside(PEEKING):
        return call(*args, **kwargs)
    point = _POINT_OF.get(name, f"fs.{name}")
    paths = _paths(name, args, kwargs)
    path = paths[0] if paths else ""
    if name == "create_stream":
        return _Opening(session, path, _mode(args, kwargs), call, args, kwargs)
    if name == "ls":
        return _listing(session, path, call, args, kwargs)
    if name in ("rename", "rm_file"):
        _keep(session, paths[-1] if paths else "", call)
    calls = session.enter((point,), paths)
    target = paths[1] if len(paths) > 1 else ""
    for match in fire_before(session, calls, path, target=target):
        session.record_fired(match, session.threads.step, path, target=target)
        if match[1].action.spec.replaces == "nothing":
            return None
        if name == "exists":
            return False
        raise missing(*paths[: 2 if name == "rename" else 1])
    try:
        with session.threads.inside(point):
            result = call(*args, **kwargs)
    except BaseException:
        session.record_return(calls, False, path)
        raise
    session.record_return(calls, True, path)
    quietly(lambda: session.fire_all(calls, "after", path, target=target))
    return result


def _listing(
    session: Session, path: str, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    with session.threads.inside("fs.listdir"):
        names = call(*args, **kwargs)
    calls = session.enter(("fs.listdir",), tuple(map(str, names)))
    for match in fire_before(session, calls, path):
        hidden = {name for name in names if match[1].matches_path(str(name))}
        if hidden:
            session.record_fired(match, session.threads.step, path)
            names = [name for name in names if name not in hidden]
    fire_after(session, calls, path)
    return names


def _paths(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
    given = [*args, *kwargs.values()]
    texts = [os.fspath(one) for one in given if isinstance(one, str | os.PathLike)]
    texts = [os.fsdecode(text) for text in texts]
    if name == "concat_path":
        return ("/".join(text.rstrip("/") for text in texts[:2]),)
    return tuple(texts[: 2 if name == "rename" else 1])


def _mode(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    given = kwargs.get("mode", args[1] if len(args) > 1 else "rb")
    return given if isinstance(given, str) else "rb"


def _content(files: Any, session: Session, path: str) -> bytes | None:
    """What the file at `path` of this file system holds; None where it cannot be read.  It counts as no call."""
    try:
        with session.threads.inside(PEEKING), files.create_stream(path, "rb") as stream:
            return stream.read()
    except Exception:
        return None


def _keep(session: Session, path: str, call: Callable[..., Any]) -> None:
    """Remember what is there before it is opened, replaced or removed, where a fault wants an old version."""
    files = getattr(call, "__self__", None)
    if any(fault.matches_path(path) for fault in session.planned.stale) and files is not None:
        session.versions.remember(path, _content(files, session, path))


class _Opening:
    """The context manager that ``create_stream`` gives, with what the plan does before, inside and after it."""

    def __init__(
        self,
        session: Session,
        path: str,
        mode: str,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._session, self._path = session, path
        self._files = getattr(call, "__self__", None)
        _keep(session, path, call)
        writes = bool(set(mode).intersection("wax+"))
        self._opened = "rw" if "+" in mode else "w" if writes else "r"
        self._calls = session.enter(("fs.create_stream",), (path,), not writes)
        self._changes = fire_before(session, self._calls, path, self._opened)
        for match in self._changes:
            if match[1].action.spec.replaces == "absent":
                session.record_fired(match, session.threads.step, path, self._opened)
                raise missing(path)
        self._inner = call(*args, **kwargs)

    def __enter__(self) -> Any:
        session = self._session
        opened_before = session.threads.raw_open_count
        try:
            stream = self._inner.__enter__()
        except BaseException:
            session.record_return(self._calls, False, self._path)
            raise
        if not session.recovery.has_unrecovered_error("fs.create_stream", self._path, self._opened):
            session.record_return(self._calls, True, self._path)
        session.recovery.record_recovery("fs.create_stream", self._path, self._opened)
        is_raw = session.threads.raw_open_count > opened_before
        planned = set(session.planned.names("fs")).intersection(STREAM_POINTS)
        names = planned.difference(_SEEN_BELOW) if is_raw else planned
        for match in self._changes:
            action = match[1].action
            as_stream = _SHOWN_AS_STREAM.get(action.name)
            view = as_stream(action, stream) if as_stream is not None else None
            if view is None:
                seen = self._view(match, stream)
                view = None if seen is None else io.BytesIO(seen)
            if view is not None and view is not stream:
                session.record_fired(match, session.threads.step, self._path, self._opened)
                stream = view
        return FaultyStream(stream, session, self._path, self._opened, frozenset(names)) if names else stream

    def __exit__(self, *error: Any) -> Any:
        result = self._inner.__exit__(*error)
        if error[0] is None:
            fire_after(self._session, self._calls, self._path, self._opened)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _view(self, match: Match, stream: Any) -> bytes | None:
        index, fault, _, _ = match
        session = self._session
        try:
            content = stream.read()
            stream.seek(0)
        except Exception as error:
            why = (
                f"the stream cannot be read as a whole ({type(error).__name__}: {error}); "
                "cut(bytes) needs no more of it than is asked for"
            )
            session.record("refused", fault=index, point=fault.point, path=self._path, why=why)
            return None
        if isinstance(content, str):
            return None
        folder = self._path.rpartition("/")[0]
        return opened_view(
            fault.action,
            content,
            functools.partial(session.versions.older, self._path, content),
            lambda name: _content(self._files, session, f"{folder}/{name}"),
        )
