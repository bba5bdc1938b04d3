"""`read`: files and folders that a cluster left, of any mix, into `Evidence`.

Guarantees: everything is streamed or bounded, so that a log may be larger than the memory; nothing that is read runs
code, and no path in it is followed.  A file that holds nothing known is named with the reason, and what was not
understood of a log is counted.  Not covered: what follows from it (`faultkit.evidence.telling`).
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from faultkit.evidence import elastic
from faultkit.evidence.logs import LogReader
from faultkit.evidence.recorders import NotARecorder, read_dump, recorder_of
from faultkit.evidence.values import Error, Evidence, Exit, Frame, Origin, RankEvidence, Recorder, Stack

__all__ = ["EvidenceError", "read"]

FILES_MAX = 100_000
DUMP_BYTES_MAX = 1 << 30
JSON_BYTES_MAX = 64 << 20
LINE_CHARACTERS_MAX = 1 << 20
HEAD_BYTES = 4_096
BLOCK_BYTES = 1 << 18
# Every fact of a log begins with a line that has one of these, so that a block without any is not cut into lines.  They
# are as long as they can be: a long text is looked for faster.
MARKS = (
    b" (most recent call ",
    b"Watchdog caught collective operation timeout",
    b"local_rank: ",
    b" closing signal SIG",
    b"Root Cause (first observed failure):",
    b"Fatal Python error: ",
    b'): "MainThread"',
)

_ATTEMPT = re.compile(r"(?:^|/)attempt_(\d{1,5})/(\d{1,7})/[^/]*$")
_JSON = re.compile(rb"\s*(?:\{\s*\"|\[\s*\{)")
_OF_RANK = re.compile(r"rank[_-]?(\d{1,7})(?!\d)", re.IGNORECASE)
_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


class EvidenceError(ValueError):
    """What was given is no evidence: nothing there, or nothing in it that is known."""


class _Found(msgspec.Struct):
    """What was said of one rank, in the order in which it was read."""

    errors: list[Error] = []
    exits: list[Exit] = []
    stacks: list[Stack] = []
    recorder: Recorder | None = None
    watchdogs: list[tuple[str, Origin]] = []
    was_named: bool = False


def read(
    paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    on_progress: Callable[[str, int], object] | None = None,
) -> Evidence:
    """Read everything in `paths`.

    Args:
        paths: files and folders; compressed ones (gz, bz2, xz) as well.
        on_progress: called now and then with the file and how many of its bytes were read.

    Returns:
        What each rank shows.

    Raises:
        EvidenceError: a path is not there, or none of them holds anything that is known.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found: dict[int, _Found] = {}
    unread: list[tuple[str, str]] = []
    files: list[str] = []
    lines = understood = 0
    for path, name in _files(given):
        try:
            log = _read_one(path, name, found, on_progress)
        except (OSError, EOFError, lzma.LZMAError) as error:
            unread.append((name, f"it cannot be read: {getattr(error, 'strerror', None) or error}"))
            continue
        except NotARecorder as error:
            unread.append((name, str(error)))
            continue
        files.append(name)
        if log is not None:
            lines, understood = lines + log.lines, understood + log.understood
            if not (log.errors or log.exits or log.stacks or log.watchdogs):
                unread.append(
                    (name, "no line of it says what became of a rank" if log.lines else "it is empty")
                )
    if not found:
        why = "; ".join(f"{name}: {reason}" for name, reason in unread[:3]) or "no file in it"
        raise EvidenceError(f"this is no evidence that can be read: {why}")
    ranks = {rank: _rank(rank, one) for rank, one in sorted(found.items())}
    return Evidence(
        ranks=ranks,
        world_size=_world_size(ranks),
        files=tuple(files),
        unread=tuple(unread),
        lines=lines,
        lines_understood=understood,
    )


# -- files -------------------------------------------------------------------------------------------------


def _files(given: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[Path, str]]:
    """Each file with the name by which it is told; no link out of a folder is followed."""
    count = 0
    for one in given:
        path = Path(one)
        if path.is_file():
            yield path, str(one)
            continue
        if not path.is_dir():
            raise EvidenceError(f"evidence must be a file or a folder that is there (got {str(one)!r})")
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                inner = Path(folder) / name
                if inner.is_symlink() or not inner.is_file():
                    continue
                count += 1
                if count > FILES_MAX:
                    raise EvidenceError(
                        f"a folder must hold at most {FILES_MAX} files (got more in {str(one)!r})"
                    )
                yield inner, str(inner.relative_to(path))


def _read_one(path: Path, name: str, found: dict[int, _Found], on_progress: Any) -> LogReader | None:
    with _open(path) as stream:
        head = stream.read(HEAD_BYTES)
        if _is_pickle(head):
            _take_dump(_whole(head, stream, DUMP_BYTES_MAX), name, found)
            return None
        if _JSON.match(head):
            data = _whole(head, stream, JSON_BYTES_MAX)
            told = _parsed(data)
            if told is not None and _take_json(told, data, name, found):
                return None
            stream = io.BytesIO(data)
            head = b""
        return _take_log(head, stream, name, found, on_progress)


def _open(path: Path) -> IO[bytes]:
    with open(path, "rb") as stream:
        start = stream.read(6)
    for magic, opener in _OPENERS.items():
        if start.startswith(magic):
            return opener(str(path))
    return open(path, "rb")


def _is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _whole(head: bytes, stream: IO[bytes], most: int) -> bytes:
    data = head + stream.read(most - len(head) + 1)
    if len(data) > most:
        raise NotARecorder(f"it is larger than {most >> 20} MiB")
    return data


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


# -- what is in them ---------------------------------------------------------------------------------------


def _take_dump(data: bytes, name: str, found: dict[int, _Found]) -> None:
    recorder = recorder_of(read_dump(data), name, name)
    of = found.setdefault(recorder.rank, _Found())
    # the same dump as pickle and as JSON: that which says more of the groups counts
    if of.recorder is None or sum(map(len, recorder.groups.values())) > sum(
        map(len, of.recorder.groups.values())
    ):
        of.recorder = recorder


def _take_json(told: Any, data: bytes, name: str, found: dict[int, _Found]) -> bool:
    if isinstance(told, dict) and isinstance(told.get("entries"), list):
        _take_dump(data, name, found)
        return True
    rank = _rank_of(name)
    if elastic.is_error_file(told) and rank is not None:
        error, ended = elastic.error_of(told, name)
        of = found.setdefault(rank, _Found())
        if error is not None:
            of.errors.append(error)
        if ended is not None:
            of.exits.append(ended)
        return True
    if isinstance(told, list) and told and all(isinstance(one, dict) and "frames" in one for one in told):
        if rank is None:
            raise NotARecorder("stacks without a rank: name the file by it, as in pyspy_rank_3.json")
        of = found.setdefault(rank, _Found())
        for thread in told[:10_000]:
            frames = tuple(
                Frame(str(one.get("filename", "")), int(one.get("line") or 0), str(one.get("name", "")))
                for one in thread["frames"][:200]
                if isinstance(one, dict)
            )
            named = str(thread.get("thread_name") or "")
            of.stacks.append(Stack(Origin(name), frames, named, named in ("MainThread", "")))
        return True
    return False


def _take_log(
    head: bytes, stream: IO[bytes], name: str, found: dict[int, _Found], on_progress: Any
) -> LogReader:
    reader = LogReader(name, _rank_of(name))
    count = 0
    rest, data = head, b"more"
    while data:
        data = stream.read(BLOCK_BYTES)
        block = rest + data
        end = block.rfind(b"\n") + 1 if data else len(block)
        block, rest = block[:end], block[end:][:LINE_CHARACTERS_MAX]
        if reader.is_open or any(mark in block for mark in MARKS):
            reader.feed(line[:LINE_CHARACTERS_MAX].decode("utf-8", "replace") for line in block.splitlines())
        else:
            reader.pass_over(block.count(b"\n") or bool(block))
        count += len(data)
        if on_progress is not None:
            on_progress(name, count)
    reader.close()
    for rank, error in reader.errors:
        if rank is not None:
            found.setdefault(rank, _Found()).errors.append(error)
    for rank, ended in reader.exits:
        found.setdefault(rank, _Found()).exits.append(ended)
    for rank, stack in reader.stacks:
        if rank is not None:
            found.setdefault(rank, _Found()).stacks.append(stack)
    for rank, what, origin in reader.watchdogs:
        found.setdefault(rank, _Found()).watchdogs.append((what, origin))
    return reader


def _rank_of(name: str) -> int | None:
    """The rank that a path tells: of its attempt's folder, or of the file's own name."""
    if match := _ATTEMPT.search(name):
        return int(match[2])
    match = _OF_RANK.search(name.rpartition("/")[2])
    return int(match[1]) if match else None


# -- a rank ------------------------------------------------------------------------------------------------


def _rank(rank: int, found: _Found) -> RankEvidence:
    from faultkit.evidence.consequences import is_consequence
    from faultkit.evidence.waiting import step_of, waits_in

    error = _main_error(found.errors)
    ended = _main_exit(found.exits)
    stack = next((one for one in found.stacks if one.is_main and one.frames), None) or next(
        iter(found.stacks), None
    )
    waiting, step = "", ""
    open_entry = _open_entry(found.recorder)
    if stack is not None:
        waiting, step = waits_in(reversed(stack.frames)), step_of(stack.frames)
    if not waiting and open_entry is not None:
        waiting, step = open_entry.operation.rpartition(":")[2], step_of(open_entry.frames)
    if error is not None:
        if not waiting and is_consequence(error):
            waiting = waits_in(error.frames)
        step = step or step_of(error.frames)
    if ended is not None and ended.exitcode < 0 and not ended.by_launcher:
        kind = "died"
    elif error is not None and error.type_name:
        kind = "raised"
    elif waiting or stack is not None or open_entry is not None or found.watchdogs:
        kind = "hung"
    elif ended is not None:
        kind = "died" if ended.exitcode else "returned"
    else:
        kind = "unknown"
    origins = [one.origin for one in (error, ended, stack, found.recorder) if one is not None]
    return RankEvidence(
        rank=rank,
        kind=kind,
        error=error,
        exit=ended,
        stacks=tuple(found.stacks),
        recorder=found.recorder,
        waiting=waiting or (found.watchdogs[0][0] if found.watchdogs else ""),
        step=step,
        origins=tuple(dict.fromkeys(origins)),
    )


def _open_entry(recorder: Recorder | None) -> Any:
    entries = [one for one in recorder.entries if not one.is_done] if recorder is not None else []
    return min(entries, key=lambda one: one.created_ns, default=None)


def _main_error(errors: list[Error]) -> Error | None:
    """Of all that was printed of one rank, that which says most: of the same text the one with frames and failures."""
    named = [error for error in errors if error.type_name and not _is_of_launcher(error)]
    if not named:
        return errors[0] if errors and not _is_of_launcher(errors[0]) else None
    return max(named, key=lambda error: (bool(error.failures), bool(error.frames)))


def _is_of_launcher(error: Error) -> bool:
    return error.type_name in ("ChildFailedError", "SignalException")


def _main_exit(exits: list[Exit]) -> Exit | None:
    if not exits:
        return None
    is_closed = any(one.by_launcher for one in exits)
    best = max(exits, key=lambda one: (one.is_first, bool(one.signal), one.seconds is not None))
    if is_closed and not best.is_first:
        return msgspec.structs.replace(best, by_launcher=True)
    return best


def _world_size(ranks: dict[int, RankEvidence]) -> int:
    told = [
        len(members) for one in ranks.values() if one.recorder for members in one.recorder.groups.values()
    ]
    return max([*told, max(ranks, default=-1) + 1])
