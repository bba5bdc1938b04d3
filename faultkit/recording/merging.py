"""Makes one recording of the spools of all processes: one order, names under the root, numbers of files and threads.

Guarantees: operations stand in the order of their starts by CLOCK_MONOTONIC, which all processes of a machine share.
A file has one number under every name and handle: device and inode tell it, as long as it has a name or is open,
since the system gives the inode of a removed file to the next one.  A name that goes through a symbolic link under
the root is told as the name that the link leads to.  Not covered: clocks of several machines.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterable

from faultkit.recording.operations import Operation
from faultkit.recording.spool import RawOperation
from faultkit.recording.thread_pruning import Waits, without_idle_threads
from faultkit.recording.tree import Tree

__all__ = ["LINES_ONLY", "Process", "merge", "with_lines", "with_ranks"]

LINK_COUNT_MAX = 40
LINES_ONLY = "lines"  # the name of the "begin" of a spool whose operations another one has, too
_BY_NAME = frozenset(
    {"rename", "link", "unlink", "rmdir", "symlink", "mkdir"}
)  # they do not follow the last link

Process = tuple[int, list[tuple[RawOperation, bytes]]]  # (rank, its frames)


def merge(
    processes: Iterable[Process], roots: tuple[str, ...], before: Tree
) -> tuple[tuple[Operation, ...], tuple[str, ...]]:
    """(operations, notes) of the processes of one run under `roots`, several names of one directory."""
    names = _Names(roots, before)
    notes: dict[str, None] = {}
    found: list[tuple[int, RawOperation, bytes]] = []
    for rank, frames in processes:
        for raw, data in frames:
            if raw.kind == "note":
                notes[f"rank {rank}: {_within(raw.name, roots)}"] = None
            elif raw.kind == "rank":
                continue
            elif raw.kind == "begin":
                names.thread(rank, raw.process, raw.thread)
            else:
                found.append((rank, raw, data))
    found.sort(key=lambda one: one[1].start_ns)
    operations: list[Operation] = []
    waits = Waits()
    for rank, raw, data in without_idle_threads(found):
        after = waits.after(raw) if raw.phase == "wait" else -1
        operation = names.operation(len(operations), rank, raw, data, after) if after is not None else None
        if operation is not None:
            waits.add(raw, operation.index)
            operations.append(operation)
    return tuple(operations), (*notes, *names.notes)


def with_lines(spools: list[list[tuple[RawOperation, bytes]]]) -> list[list[tuple[RawOperation, bytes]]]:
    """Give what a library recorded the source lines that Python saw, and drop what Python saw beside it.

    Both saw the same call where its thread, kind and name are the same, and the library's lies within Python's.
    """
    seen: dict[tuple[int, int, str], list[RawOperation]] = {}
    kept: list[list[tuple[RawOperation, bytes]]] = []
    for frames in spools:
        if frames and frames[0][0].kind == "begin" and frames[0][0].name == LINES_ONLY:
            for raw, _ in frames:
                if raw.path:
                    seen.setdefault((raw.process, raw.thread, raw.kind), []).append(raw)
            frames = [(raw, data) for raw, data in frames if not raw.path]
        kept.append(frames)
    if not seen:
        return kept
    starts = {key: [raw.start_ns for raw in found] for key, found in seen.items()}
    for frames in kept:
        for raw, _ in frames:
            key = (raw.process, raw.thread, raw.kind)
            if raw.path and key in seen:
                found = seen[key][max(0, bisect.bisect_right(starts[key], raw.start_ns) - 1)]
                if found.start_ns <= raw.start_ns and raw.end_ns <= found.end_ns:
                    raw.where = found.where
    return kept


def with_ranks(spools: Iterable[list[tuple[RawOperation, bytes]]]) -> list[Process]:
    """Which rank each spool belongs to, by what its process said; of a spool whose process said none, the frames are
    rank 0's where others said theirs, else each process with operations is a rank, in the order of the first.
    """
    told: dict[int, int] = {}  # process -> rank
    # a process before those that it starts, so that its own threads have the first numbers
    spools = sorted((frames for frames in spools if frames), key=lambda frames: frames[0][0].start_ns)
    for frames in spools:
        for raw, _ in frames:
            if raw.kind in ("begin", "rank") and raw.number >= 0:
                told[raw.process] = raw.number
    if not told:
        firsts: dict[int, int] = {}
        for frames in spools:
            for raw, _ in frames:
                if raw.path:
                    first = firsts.get(frames[0][0].process, raw.start_ns)
                    firsts[frames[0][0].process] = min(first, raw.start_ns)
        told = {process: rank for rank, process in enumerate(sorted(firsts, key=firsts.__getitem__))}
    # one without a rank of its own, such as a launcher, after the ranks: it has not the first thread of rank 0
    spools.sort(key=lambda frames: frames[0][0].process not in told)
    return [(told.get(frames[0][0].process, 0), frames) for frames in spools]


def _within(sentence: str, roots: tuple[str, ...]) -> str:
    for root in roots:
        sentence = sentence.replace(f"{root}/", "")
    return sentence


class _Names:
    """What the run's names and numbers mean at the moment of each operation."""

    def __init__(self, roots: tuple[str, ...], before: Tree) -> None:
        self.roots = roots
        self.notes: list[str] = []
        self.links = dict(before.links)
        self.numbers: dict[tuple[int, int], int] = {}  # (device, inode) -> file
        self.files: dict[str, int] = {}  # name -> file
        self.handles: dict[tuple[int, int], tuple[int, int]] = {}  # (process, handle) -> (handle, file)
        self.threads: dict[int, dict[tuple[int, int], int]] = {}
        self.count = 0
        for name, identity in before.identities.items():
            self.files[name] = self.number(identity)

    def thread(self, rank: int, process: int, native_id: int) -> int:
        threads = self.threads.setdefault(rank, {})
        return threads.setdefault((process, native_id), len(threads))

    def number(self, identity: tuple[int, int]) -> int:
        if identity == (0, 0):
            return -1
        if identity not in self.numbers:
            self.numbers[identity] = self.count
            self.count += 1
        return self.numbers[identity]

    def relative(self, path: str, follow: bool) -> str | None:
        """The name under the root, "" for the root itself; None where it lies outside."""
        for root in self.roots:
            if path == root:
                return ""
            if path.startswith(root + "/"):
                return self.resolved(path[len(root) + 1 :], follow)
        return None

    def resolved(self, name: str, follow: bool) -> str:
        for _ in range(LINK_COUNT_MAX):
            parts = name.split("/")
            for count in range(1, len(parts) + (1 if follow else 0)):
                start = "/".join(parts[:count])
                if start in self.links:
                    text = self.links[start]
                    goal = os.path.normpath(os.path.join("/", os.path.dirname(start), text))
                    if text.startswith("/"):
                        root = next((one for one in self.roots if f"{text}/".startswith(f"{one}/")), None)
                        if root is None:
                            return name
                        goal = text[len(root) :]
                    name = "/".join([goal.strip("/"), *parts[count:]]).strip("/")
                    break
            else:
                return name
        return name

    def operation(
        self, index: int, rank: int, raw: RawOperation, data: bytes, after: int = -1
    ) -> Operation | None:
        kind, path, target, identity = raw.kind, "", raw.target, (raw.device, raw.inode)
        number, file, handle = raw.number, -1, -1
        if kind == "thread":
            number = self.thread(rank, raw.process, raw.number)
        elif raw.path:
            named = self.relative(raw.path, kind not in _BY_NAME and not raw.flags & os.O_NOFOLLOW)
            goal = self.relative(raw.target, False) if kind in ("rename", "link") else raw.target
            if named is None and (goal is None or kind not in ("rename", "link")):
                return None
            if named is None or goal is None:
                way = "into" if named is None else "out of"
                told = f"rank {rank}: {kind} {way} the recorded directory"
                if raw.error == "EXDEV":
                    told += f" failed, since two file systems hold them here ({raw.path} -> {raw.target}); "
                    told += "where one does, something else happens"
                else:
                    told += f" ({raw.path} -> {raw.target}); record a directory that holds both"
                self.notes.append(told)
                if goal is None and named is not None and kind == "rename" and not raw.error:
                    kind, target = "unlink", ""  # which is what it is for this tree
                else:
                    return None
            else:
                target = goal
            path = named or ""
            if raw.handle >= 0:
                handle, file = self.open_file(raw, path, identity)
            else:
                file = self.number(identity)
        operation = Operation(
            index=index,
            rank=rank,
            thread=self.thread(rank, raw.process, raw.thread),
            kind=kind,
            path=path,
            target=target,
            file=file,
            handle=handle,
            flags=raw.flags,
            offset=raw.offset if kind != "thread" else 0,
            data=data,
            error=raw.error,
            where=tuple(raw.where),
            seconds=raw.start_ns / 1e9,
            end_seconds=raw.end_ns / 1e9,
            name=raw.name,
            number=number,
            phase=raw.phase,
            group=tuple(raw.group),
            root=raw.root,
            after=after,
        )
        if not raw.error:
            self.follow(operation)
        return operation

    def open_file(self, raw: RawOperation, path: str, identity: tuple[int, int]) -> tuple[int, int]:
        key = (raw.process, raw.handle)
        if key not in self.handles:
            self.handles[key] = (len(self.handles), self.number(identity))
        return self.handles[key]

    def follow(self, operation: Operation) -> None:
        """Keep names and links as they are after `operation`."""
        path, target, file = operation.path, operation.target, operation.file
        match operation.kind:
            case "open" | "mkdir":
                self.files[path] = file
            case "symlink":
                self.links[path] = target
                self.files[path] = file
            case "link":
                self.files[target] = file
                if path in self.links:
                    self.links[target] = self.links[path]
            case "unlink" | "rmdir":
                self.lose(path)
            case "rename" if path != target and self.files.get(target, -2) != file:
                self.lose(target)
                for table in (self.files, self.links):
                    for name in [one for one in table if one == path or one.startswith(f"{path}/")]:
                        table[target + name[len(path) :]] = table.pop(name)  # type: ignore[assignment]

    def lose(self, name: str) -> None:
        """A name goes; the inode of a file without any is the next file's."""
        self.links.pop(name, None)
        file = self.files.pop(name, None)
        if file is not None and file not in self.files.values():
            for identity in [one for one, number in self.numbers.items() if number == file]:
                del self.numbers[identity]
