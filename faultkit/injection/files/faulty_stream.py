"""A stream whose operations are counted, and done as the plan says: what stands in the place of the engine's own.

A stream promises to take all that it is given and to give all that there is, so ``short`` is for real files alone.
What is torn, or reaches a full disk, is in the stream as far as it got; what is lost is zeros.  Not covered: what is
shown to who opens it (`faultkit.injection.files.streams`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from faultkit.injection.errors import build
from faultkit.injection.files.data import altered, writing
from faultkit.injection.files.raw import quietly
from faultkit.injection.perform import KILL, perform
from faultkit.injection.session import Calls, Match, Session
from faultkit.plan import Fault
from faultkit.plan.action_spec import HARMLESS

__all__ = ["FaultyStream", "fire_after", "fire_before"]


def fire_before(
    session: Session, calls: Calls, path: str, opened: str = "w", target: str = ""
) -> list[Match]:
    """Perform what happens before the call; gives the faults that take its place, or change it."""
    changes = []
    for match in session.matching(calls, "before"):
        if match[1].action.replaces_call:
            changes.append(match)
        else:
            quietly(lambda match=match: session.fire(match, session.threads.step, path, opened, target))  # type: ignore[misc]
    return changes


def fire_after(session: Session, calls: Calls, path: str, opened: str = "w") -> None:
    """Record and perform what happens after the call."""
    quietly(lambda: session.fire_all(calls, "after", path, opened))


class FaultyStream:
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
            changes = fire_before(session, calls, path, self._opened)
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
        fire_after(session, calls, path, self._opened)
        return result

    def _strike(self, match: Match) -> None:
        self._session.record_fired(match, self._session.threads.step, self._path, self._opened)

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
