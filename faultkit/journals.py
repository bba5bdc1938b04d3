"""A journal: a file of whole lines of JSON that a campaign appends to as it goes, so that it can be killed at any
moment.

    {"journal": 1, "campaign": "damage", "scenario": "dcp-save", "seed": 0, ...}
    {"made": "3q2+7w..."}
    {"key": "17", "answer": {...}}

Guarantees: a line is appended by one write, so that whoever is killed leaves whole lines and at most one torn one,
which is dropped; two processes do not append to one journal, the second is refused.  A `CampaignJournal` of another
campaign, or of one with other arguments, is refused with the difference.  Reading one runs no code: lines are read
into types.  Not covered: what is in a sweep's lines (`faultkit.sweep.journal_file`).
"""

from __future__ import annotations

import base64
import fcntl
import importlib.metadata
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Generic, TypeVar

import msgspec

from faultkit.exceptions import JournalError
from faultkit.messages import seen

__all__ = ["CampaignJournal", "WholeLines", "lines_of", "utf8_of"]

VERSION = 1
LINE_BYTES_MAX = 1 << 30
Answer = TypeVar("Answer")


class WholeLines:
    """A file to which lines are appended.  A context manager.  Raises JournalError where another process does so."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise JournalError(f"journal {path!r} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise JournalError(f"journal {path!r} is being written by another process") from None

    def __enter__(self) -> WholeLines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    @property
    def is_empty(self) -> bool:
        return not os.fstat(self._descriptor).st_size

    def append(self, data: bytes) -> None:
        """`data`, and the end of its line."""
        view = memoryview(data + b"\n")
        while view:
            view = view[os.write(self._descriptor, view) :]

    def drop_torn_line(self) -> None:
        """What stands behind the last whole line goes."""
        end = size = os.fstat(self._descriptor).st_size
        while end:
            start = max(0, end - 65_536)
            found = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end != size:
            os.ftruncate(self._descriptor, end)


def lines_of(path: str, most: int = LINE_BYTES_MAX) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a journal with their numbers, from 1.  Raises JournalError where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(most), b""), 1):
                if not line.endswith(b"\n"):
                    return  # torn
                yield number, line
    except OSError as error:
        raise JournalError(f"journal {path!r} cannot be read: {error.strerror}") from None


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    made: str = ""
    key: str = ""
    answer: msgspec.Raw = msgspec.Raw()


class CampaignJournal(Generic[Answer]):
    """What `campaign` with the arguments `about` has found so far; a context manager.

    `done` has each answer, a value of the type `answer`, by its key.  Raises JournalError where what lies at `path`
    is no journal, or one of another campaign.
    """

    def __init__(self, path: str, campaign: str, about: dict[str, Any], answer: type[Answer]) -> None:
        self.done: dict[str, Answer] = {}
        self._made: bytes | None = None
        self._lines = WholeLines(path)
        head = msgspec.json.decode(
            msgspec.json.encode(
                {
                    "journal": VERSION,
                    "campaign": campaign,
                    "faultkit": importlib.metadata.version("faultkit"),
                    "torch": importlib.metadata.version("torch"),
                    **about,
                }
            )
        )
        try:
            if self._read(path, head, answer):
                self._lines.drop_torn_line()
            else:
                self._lines.drop_torn_line()
                self._lines.append(msgspec.json.encode(head))
        except BaseException:
            self._lines.close()
            raise

    def _read(self, path: str, head: dict[str, Any], answer: type[Answer]) -> bool:
        """Whether there was a whole line."""
        number = 0
        for number, line in lines_of(path):
            try:
                if number == 1:
                    _require(path, head, msgspec.json.decode(line, type=dict[str, Any]))
                    continue
                one = msgspec.json.decode(line, type=_Line)
                if one.made:
                    self._made = base64.b64decode(one.made, validate=True)
                else:
                    self.done[one.key] = msgspec.json.decode(one.answer, type=answer)
            except JournalError:
                raise
            except (msgspec.MsgspecError, ValueError) as error:
                raise JournalError(f"journal {path!r}, line {number}: {error}") from None
        if not number and not self._lines.is_empty:
            raise JournalError(f"journal {path!r} must begin with what it is of (it has no whole line)")
        return number > 0

    def __enter__(self) -> CampaignJournal[Answer]:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def made(self, make: Callable[[], bytes]) -> bytes:
        """What everything else is about and what would be another the next time, such as a checkpoint: made once."""
        if self._made is None:
            self._made = make()
            self._lines.append(msgspec.json.encode({"made": base64.b64encode(self._made).decode()}))
        return self._made

    def add(self, key: str, answer: Answer) -> None:
        """Append `answer`, unless there is one of that `key`."""
        if key not in self.done:
            self.done[key] = answer
            self._lines.append(
                msgspec.json.encode({"key": key, "answer": utf8_of(msgspec.to_builtins(answer))})
            )

    def answered(
        self, asked: Iterable[Any], answers: Callable[[Iterable[Any]], Iterator[tuple[Any, Answer]]]
    ) -> Generator[tuple[Any, Answer], None, None]:
        """Each of `asked`, which have a `key`, with its answer: the known one, or what `answers` gives of it."""
        known: list[tuple[Any, Answer]] = []

        def unknown() -> Iterator[Any]:
            for one in asked:
                if one.key in self.done:
                    known.append((one, self.done[one.key]))
                else:
                    yield one

        for one, answer in answers(unknown()):
            yield from known
            known.clear()
            self.add(one.key, answer)
            yield one, answer
        yield from known


def _require(path: str, head: dict[str, Any], there: dict[str, Any]) -> None:
    wrong = [
        f"{name} {seen(there.get(name))}, not {seen(head.get(name))}"
        for name in dict.fromkeys((*head, *there))
        if head.get(name) != there.get(name)
    ]
    if wrong:
        raise JournalError(f"journal {path!r} is of another campaign: it has {'; '.join(wrong)}")


def utf8_of(value: Any) -> Any:
    """`value`, of builtin types, with what is no UTF-8 in it written out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {utf8_of(key): utf8_of(one) for key, one in value.items()}
    return [utf8_of(one) for one in value] if isinstance(value, list | tuple) else value
