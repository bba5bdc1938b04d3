"""Faults of layer ``fs`` at the engine's own file interface, FileSystemBase: for every kind of storage.

`call_file_system` makes one call of a method of a file system: it counts it for the faults that mean its file and
its thread, and does what they say.  The stream that ``create_stream`` opens is wrapped where a fault means what is
done with it and nothing below can do it: all its operations where the storage is no local file (memory, S3 and
what else fsspec has), only flush and seek where it is one, since `faultkit.injection.files.raw` sees the rest.

A stream that is cut is read as before up to where it ends; what is damaged otherwise, or old, is shown from a copy of
the whole.  What is torn, or reaches a full disk, is in the stream as far as it got; what is lost is zeros.  A stream
promises to take all that it is given and to give all that there is, so ``short`` is for real files alone.  Not covered:
what a storage of several parts does with its parts.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from faultkit.injection.errors import build
from faultkit.injection.files.cut_streams import cut_off
from faultkit.injection.files.data import altered, opened_view, writing
from faultkit.injection.files.raw import PEEKING, missing, quietly
from faultkit.injection.perform import KILL, perform
from faultkit.injection.session import Calls, Match, Session
from faultkit.plan import Fault
from faultkit.plan.action_spec import HARMLESS
from faultkit.plan.points import STREAM_POINTS

__all__ = ["call_file_system"]

_SEEN_BELOW = ("read", "write", "truncate", "close")
_POINT_OF = {"ls": "fs.listdir"}
_SHOWN_AS_STREAM = {"cut": cut_off}  # where no copy of the whole is needed


def call_file_system(
    session: Session, name: str, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``call(*args, **kwargs)``, the method `name` of a file system, with what the plan does to it."""
    if session.is_inside(PEEKING):
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
    for match in _before(session, calls, path, target=target):
        session.record_fired(match, session.step, path, target=target)
        if match[1].action.spec.replaces == "nothing":
            return None
        if name == "exists":
            return False
        raise missing(*paths[: 2 if name == "rename" else 1])
    try:
        with session.inside(point):
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
    with session.inside("fs.listdir"):
        names = call(*args, **kwargs)
    calls = session.enter(("fs.listdir",), tuple(map(str, names)))
    for match in _before(session, calls, path):
        hidden = {name for name in names if match[1].hits_path(str(name))}
        if hidden:
            session.record_fired(match, session.step, path)
            names = [name for name in names if name not in hidden]
    _act(session, calls, "after", path)
    return names


def _before(session: Session, calls: Calls, path: str, opened: str = "w", target: str = "") -> list[Match]:
    """Perform what happens before the call; gives the faults that take its place, or change it."""
    changes = []
    for match in session.matching(calls, "before"):
        if match[1].action.takes_place:
            changes.append(match)
        else:
            quietly(lambda match=match: session.fire(match, session.step, path, opened, target))  # type: ignore[misc]
    return changes


def _act(session: Session, calls: Calls, moment: str, path: str, opened: str = "w") -> None:
    quietly(lambda: session.fire_all(calls, moment, path, opened))


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
        with session.inside(PEEKING), files.create_stream(path, "rb") as stream:
            return stream.read()
    except Exception:
        return None


def _keep(session: Session, path: str, call: Callable[..., Any]) -> None:
    """Remember what is there before it is opened, replaced or removed, where a fault wants an old version."""
    files = getattr(call, "__self__", None)
    if any(fault.hits_path(path) for fault in session.stale) and files is not None:
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
        self._changes = _before(session, self._calls, path, self._opened)
        for match in self._changes:
            if match[1].action.spec.replaces == "absent":
                session.record_fired(match, session.step, path, self._opened)
                raise missing(path)
        self._inner = call(*args, **kwargs)

    def __enter__(self) -> Any:
        session = self._session
        opened_before = session.raw_open_count
        try:
            stream = self._inner.__enter__()
        except BaseException:
            session.record_return(self._calls, False, self._path)
            raise
        if not session.recovery.has_unrecovered_error("fs.create_stream", self._path, self._opened):
            session.record_return(self._calls, True, self._path)
        session.recovery.record_recovery("fs.create_stream", self._path, self._opened)
        is_raw = session.raw_open_count > opened_before
        planned = set(session.planned("fs")).intersection(STREAM_POINTS)
        names = planned.difference(_SEEN_BELOW) if is_raw else planned
        for match in self._changes:
            action = match[1].action
            as_stream = _SHOWN_AS_STREAM.get(action.name)
            view = as_stream(action, stream) if as_stream is not None else None
            if view is None:
                seen = self._view(match, stream)
                view = None if seen is None else io.BytesIO(seen)
            if view is not None and view is not stream:
                session.record_fired(match, session.step, self._path, self._opened)
                stream = view
        return _Stream(stream, session, self._path, self._opened, frozenset(names)) if names else stream

    def __exit__(self, *error: Any) -> Any:
        result = self._inner.__exit__(*error)
        if error[0] is None:
            _act(self._session, self._calls, "after", self._path, self._opened)
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


class _Stream:
    """A stream in the place of another, on which the operations `names` are counted and done as planned."""

    def __init__(self, inner: Any, session: Session, path: str, opened: str, names: frozenset[str]) -> None:
        self._inner, self._session, self._path, self._names = inner, session, path, names
        self._opened = opened

    def __getattr__(self, name: str) -> Any:
        if name == "peek" and "read" in self._names:
            raise AttributeError(name)  # what reads ahead would get past the faults
        return getattr(self._inner, name)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        while line := self.readline():
            yield line

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def read(self, *args: Any) -> Any:
        return self._through("read", lambda: self._inner.read(*args), self._reading)

    read1 = read

    def readline(self, *args: Any) -> Any:
        return self._through("read", lambda: self._inner.readline(*args), self._reading)

    def readlines(self, hint: int | None = None) -> list[Any]:
        return list(self)

    def readinto(self, buffer: Any) -> int:
        if "read" not in self._names:
            return self._inner.readinto(buffer)
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    readinto1 = readinto

    def write(self, data: Any) -> Any:
        changed = functools.partial(self._writing, data)
        return self._through("write", lambda: self._inner.write(data), changed)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def seek(self, *args: Any) -> Any:
        return self._through("seek", lambda: self._inner.seek(*args))

    def flush(self) -> Any:
        return self._through("flush", self._inner.flush)

    def truncate(self, *args: Any) -> Any:
        return self._through("truncate", lambda: self._inner.truncate(*args))

    def close(self) -> Any:
        return self._through("close", self._inner.close)

    def _through(
        self,
        name: str,
        do: Callable[[], Any],
        changed: Callable[[Callable[[], Any], list[Match]], Any] | None = None,
    ) -> Any:
        session, path = self._session, self._path
        if name not in self._names or session.closed:
            return do()
        point = f"fs.{name}"
        calls = session.enter((point,), (path,))
        try:
            changes = _before(session, calls, path, self._opened)
        except BaseException:
            if name == "close":
                self._inner.close()
            raise
        if not changes:
            result = do()
        elif changed is None:  # what is reported as done, and is not
            self._strike(changes[0])
            result = None
        else:
            result = changed(do, changes)
        session.recovery.record_recovery(point, path)
        _act(session, calls, "after", path, self._opened)
        return result

    def _strike(self, match: Match) -> None:
        self._session.record_fired(match, self._session.step, self._path, self._opened)

    def _reading(self, do: Callable[[], Any], changes: list[Match]) -> Any:
        data = do()
        for match in changes:
            if match[1].action.effect != HARMLESS and isinstance(data, bytes):
                seen = altered(match[1].action, data)
                if seen is not None:
                    self._strike(match)
                    data = seen
        return data

    def _writing(self, data: Any, do: Callable[[], Any], changes: list[Match]) -> Any:
        try:  # text is counted by its characters
            view = memoryview(data.encode("latin-1") if isinstance(data, str) else data).cast("B")
        except UnicodeEncodeError:
            return do()
        is_changed = False
        for match in changes:
            index, fault, _, _ = match
            if fault.action.effect == HARMLESS:  # a stream has no way to say so
                continue
            made = writing(fault.action, view, functools.partial(self._room, index, fault))
            if made is None:
                continue
            self._strike(match)
            view = memoryview(bytes(made.data) + bytes(made.lost))
            if made.ends:
                self._put(view, data)
                self._inner.flush()
                error = fault.action.error
                if error is None:
                    perform(KILL, str(fault))
                    raise AssertionError(f"{fault} did not end the process")
                raise build(error, str(fault))
            is_changed = True
        if not is_changed:
            return do()
        self._put(view, data)
        return len(data)

    def _room(self, index: int, fault: Fault, wanted: int) -> int:
        return self._session.take_room(index, int(fault.action["bytes"]), wanted)

    def _put(self, view: memoryview, like: Any) -> None:
        if len(view):
            self._inner.write(bytes(view).decode("latin-1") if isinstance(like, str) else view)
