"""One file operation of a run as a value, and the recording of a run: its operations in one order, and the tree before.

Guarantees: an operation is told from below every buffer, with the content that the file really accepted; failed
operations are there with their error and changed nothing. Names and files are apart: `path` is the name that
the call used, `file` is the file (inode) that it reached, the same under every name and handle, so a rename is
followed without guessing. Not covered: reads, times and permissions of files, and anything outside the recorded root.
"""

from typing import Any, Literal, get_args

import msgspec

from faultkit.exceptions import RecordingError

Kind = Literal[
    "open",
    "write",
    "truncate",
    "fsync",
    "fdatasync",
    "close",
    "rename",
    "link",
    "symlink",
    "unlink",
    "mkdir",
    "rmdir",
    "fsync_directory",
    "sync",
    "collective",
    "store",
    "thread",
    "returned",
]

FILE_BYTES_MAX = 1 << 32  # of a file in a recording that is read: its content is held in memory


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file operation, one side of a collective or of a word through a store, or the return of a rank's function.

    index: place in the one order of the whole run, by the time of the start.
    rank, thread: who issued it; thread 0 is the thread that ran the function, 1 and up are helper threads in the
        order of their first operation.
    kind: see `Kind`; "returned" is the moment at which the recorded function returned on this rank.
    path: relative to the recorded root, as named at the time of the call; "" for collectives and "returned".
        Of a call on a descriptor it is the name that the file had when it was opened.
    target: the new name, of rename and link; the text of the link, of symlink; the key with its prefixes, of store.
    file: which file or directory (inode) of the recording, -1 where there is none; of rename, link and unlink the
        file that moves, gets a name or loses one.
    handle: which open file description, -1 where there is none; shared by duplicates of a descriptor.
    flags: of open, as given to the system call; of write O_DSYNC or O_SYNC where it waited for the disk by a flag of
        its own (RWF_DSYNC, RWF_SYNC).
    offset: of write the byte where `data` lies in the file; of truncate the new size in bytes.
    data: of write, the content that was accepted: a short write holds what was written.
    error: name of the errno ("ENOSPC"), "" where the call was successful.
    where: "path/file.py:123 in function", innermost first.
    seconds, end_seconds: CLOCK_MONOTONIC at start and end.
    name: of sync, "sync" or "syncfs".
    name, number, phase: of a collective its name at the process group ("allgather"), which collective of its group
        it is (from 0, so that equal `group` and `number` are one collective), "enter" or "leave". Of "thread"
        `number` is the other thread, which this one starts or has joined or has got something from: phase "start",
        "join" or "wait". Of "store" a change ("set", "set again", "add" ...) has the phase "enter", `get` and `wait`
        "leave"; `number` is the total that `add` gave.
    group, root: of a collective, the ranks of its group in the world, and the rank that it is to or from, or -1.
        Of "store" `root` is of how many the barrier is that adds, 0 for any other call.
    after: of "thread" with phase "wait", the last operation that the other thread had done when it handed over what
        this one waited for, by its index.
    """

    index: int
    rank: int
    thread: int
    kind: str
    path: str
    target: str = ""
    file: int = -1
    handle: int = -1
    flags: int = 0
    offset: int = 0
    data: bytes = b""
    error: str = ""
    where: tuple[str, ...] = ()
    seconds: float = 0.0
    end_seconds: float = 0.0
    name: str = ""
    number: int = 0
    phase: str = ""
    group: tuple[int, ...] = ()
    root: int = -1
    after: int = -1


class Recording(msgspec.Struct, frozen=True, omit_defaults=True):
    """The operations of a run under `root`, in one order, and the tree that they met.

    block_size: bytes of the buffer that `open` chose, or that was forced.
    backend: "python" or "preload".
    before: content of every file under root at the start, None for a directory; keys relative to root.
    links: the text of every symbolic link under root at the start, which `before` does not have.
    notes: what the recorder saw and cannot put into an operation, as sentences (a writable memory map, say).
    """

    root: str
    world_size: int
    block_size: int
    backend: str
    before: dict[str, bytes | None]
    operations: tuple[Operation, ...]
    links: dict[str, str] = {}
    notes: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The whole recording, to be kept in a file."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, kept: bytes) -> "Recording":
        """Read what `to_bytes` gave; raises `RecordingError` where it is not a recording.

        Whoever wrote it: every name lies under the root, no file in it is larger than 4 GiB, and what it says in few
        bytes is not large (`faultkit.recording.kept_limits`).
        """
        from faultkit.recording import kept_limits

        try:
            kept_limits.require_few_entries(kept)
            recording = msgspec.msgpack.decode(kept, type=cls)
            if why := _unsound(recording):
                raise ValueError(why)
            names = (name for one in recording.operations for name in (one.path, one.target) if name)
            kept_limits.require_few_places((*recording.before, *recording.links, *names))
            before_bytes = sum(len(content) for content in recording.before.values() if content is not None)
            kept_limits.require_small_holes(recording.operations, before_bytes)
        except (msgspec.DecodeError, ValueError) as error:
            raise RecordingError(f"not a recording: {error}") from None
        return recording

    def describe(self, operation: Operation) -> str:
        """The operation in words: "rename(.metadata.tmp -> .metadata) on rank 0"."""
        return describe(operation)


def _unsound(recording: Recording) -> str:
    """What cannot be in a recording that was made, in words; "" where nothing is."""
    if recording.world_size < 1 or recording.block_size < 1:
        return f"it must have ranks and blocks (got {recording.world_size} and {recording.block_size})"
    for name in (*recording.before, *recording.links):
        if not name or not _lies_under_root(name):
            return f"a name must lie under the root (got {name[:80]!r})"
    if both := recording.before.keys() & recording.links.keys():
        return f"a name must be a file or a link (got both of {sorted(both)[0][:80]!r})"
    for place, operation in enumerate(recording.operations):
        names = (operation.path, operation.target if operation.kind in ("rename", "link") else "")
        if not all(map(_lies_under_root, names)):
            return f"a name must lie under the root (got {names[0][:80]!r} and {names[1][:80]!r})"
        if operation.kind not in get_args(Kind):
            return f"no operation is called {operation.kind[:80]!r}"
        if operation.index != place or not -1 <= operation.after < place:
            return f"operations must have their places as numbers (got {operation.index} at {place})"
        if not 0 <= operation.rank < recording.world_size or operation.thread < 0:
            return f"operation {place} must be one of its ranks and threads (got {operation.rank})"
        if not 0 <= operation.offset <= FILE_BYTES_MAX - len(operation.data):
            return f"operation {place} must lie in a file of at most 4 GiB (got byte {operation.offset})"
    return ""


def _lies_under_root(name: str) -> bool:
    return not name or ("\0" not in name and {"", ".", ".."}.isdisjoint(name.split("/")))


def describe(operation: Operation) -> str:
    """An operation in words: "write(__0_0.distcp, 4096 bytes at 0) on rank 1, helper thread 1"."""
    who = f" on rank {operation.rank}" + (
        f", helper thread {operation.thread}" if operation.thread > 0 else ""
    )
    failed = f", failed with {operation.error}" if operation.error else ""
    return f"{_call(operation)}{who}{failed}"


def _call(operation: Operation) -> str:
    path = operation.path or "."
    match operation.kind:
        case "rename" | "link":
            return f"{operation.kind}({path} -> {operation.target or '.'})"
        case "symlink":
            return f"symlink({path} -> {operation.target})"
        case "write":
            size = len(operation.data)
            return f"write({path}, {size} byte{'s' if size != 1 else ''} at {operation.offset})"
        case "truncate":
            return f"truncate({path} to {operation.offset} bytes)"
        case "collective":
            return f"{operation.phase} {operation.name} (collective {operation.number})"
        case "store":
            return f"store {operation.name}({operation.target})"
        case "thread":
            other = f"helper thread {operation.number}" if operation.number else "the main thread"
            return f"wait for {other}" if operation.phase == "wait" else f"{operation.phase} {other}"
        case "sync":
            return f"{operation.name}()"
        case "returned":
            return "the function returned"
        case kind:
            return f"{kind}({path})"


def describe_all(recording: Recording, **only: Any) -> tuple[str, ...]:
    """Every operation in words, in order; keywords keep those whose fields equal them (`rank=0`, `kind="fsync"`)."""
    return tuple(
        describe(operation)
        for operation in recording.operations
        if all(getattr(operation, field) == wanted for field, wanted in only.items())
    )
