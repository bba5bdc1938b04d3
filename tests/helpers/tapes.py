"""Recordings written by hand, for tests of what follows from them."""

from __future__ import annotations

import itertools
import os

from faultkit.recording import Operation, Recording

CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Tape:
    """Operations in the order in which they are called here; `at` says which rank and thread does the next ones."""

    def __init__(self, before: dict[str, bytes | None] | None = None, world_size: int = 1) -> None:
        self.before = before or {}
        self.world_size = world_size
        self.operations: list[Operation] = []
        self._who = (0, 0)
        self._handles = itertools.count(1)
        self._open: dict[str, int] = {}

    def at(self, rank: int, thread: int = 0) -> Tape:
        self._who = (rank, thread)
        return self

    def do(self, kind: str, path: str = "", **fields: object) -> Tape:
        now = float(len(self.operations))
        fields.setdefault("seconds", now)
        fields.setdefault("end_seconds", now + 0.5)
        rank, thread = self._who
        self.operations.append(
            Operation(index=len(self.operations), rank=rank, thread=thread, kind=kind, path=path, **fields)
        )
        return self

    def open(self, path: str, flags: int = CREATE) -> Tape:
        self._open[path] = next(self._handles)
        return self.do("open", path, flags=flags, handle=self._open[path])

    def write(self, path: str, data: bytes, offset: int = 0) -> Tape:
        return self.do("write", path, data=data, offset=offset, handle=self._open[path])

    def fsync(self, path: str) -> Tape:
        return self.do("fsync", path, handle=self._open[path])

    def put(self, path: str, data: bytes, *, sync: bool = False) -> Tape:
        """A whole file, opened, written, synced or not, closed."""
        self.open(path).write(path, data)
        if sync:
            self.fsync(path)
        return self.do("close", path, handle=self._open[path])

    def meet(self, name: str, number: int = 0, root: int = -1) -> Tape:
        """All ranks go through a collective."""
        ranks = tuple(range(self.world_size))
        for phase in ("enter", "leave"):
            for rank in ranks:
                self.at(rank).do("collective", name=name, number=number, phase=phase, group=ranks, root=root)
        return self

    def returned(self) -> Tape:
        for rank in range(self.world_size):
            self.at(rank).do("returned")
        return self

    def recording(self) -> Recording:
        return Recording(
            root="/recorded",
            world_size=self.world_size,
            block_size=4096,
            backend="python",
            before=self.before,
            operations=tuple(self.operations),
        )


def commit_badly(tape: Tape) -> Tape:
    """A file put in place of another without a sync: what too many programs do."""
    return tape.put("new", b"NEW!").do("rename", "new", target="data")


def commit_well(tape: Tape) -> Tape:
    return tape.put("new", b"NEW!", sync=True).do("rename", "new", target="data").do("fsync_directory", "")
