"""The one place through which this process's file operations go while somebody listens: a chain of handlers.

Guarantees: while at least one handler is taken up, the file functions of `os`, `io` and `builtins` are replaced (see
`faultkit.interception.descriptors` and `faultkit.interception.opening`), below every buffer of Python; each operation
on a path that a handler wants is a `Call` that runs down the chain, faults first, then the recorder, then the real
system call.  So the recorder sees what the file really accepted.  With no handler nothing is replaced and nothing
costs. Not covered: what C, C++ or Rust code does to files by itself, which no replacement in Python can see.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Protocol

__all__ = [
    "FAULTS",
    "RECORDER",
    "Call",
    "Handle",
    "Handler",
    "Proceed",
    "chain_of",
    "handlers",
    "run",
    "set_handlers",
]

FAULTS = 0  # levels: the smaller is asked first
RECORDER = 10


class Handle:
    """One open file description: its name when it was opened, and who wants to hear of it."""

    __slots__ = ("chain", "flags", "identity", "is_directory", "number", "path", "reads")

    def __init__(
        self,
        path: str,
        identity: tuple[int, int],
        is_directory: bool,
        flags: int,
        chain: tuple[Handler, ...],
        reads: bool,
    ) -> None:
        self.path = path
        self.identity = identity
        self.is_directory = is_directory
        self.flags = flags
        self.number = next(_numbers)
        self.chain, self.reads = chain, reads


class Call:
    """One file operation that is about to happen.

    kind: open read write truncate fsync fdatasync close rename link symlink unlink mkdir rmdir fsync_directory, and,
        for handlers that want reads, list and stat.
    path: absolute; of a call on a descriptor the name at which the file was opened.
    target: the new name, absolute, of rename and link; the text of a symlink.
    descriptor: of a call on one, and of open after it happened; else -1.
    flags: of open.  offset: of read and write, -1 for the current position; the new size, of truncate.
    data: of write, the bytes.  buffer: of read, where they go.
    function: the Python function that was called, "os.write".
    """

    __slots__ = (
        "buffer",
        "data",
        "descriptor",
        "flags",
        "function",
        "handle",
        "kind",
        "offset",
        "path",
        "reached",
        "target",
    )

    def __init__(
        self,
        kind: str,
        path: str,
        *,
        target: str = "",
        descriptor: int = -1,
        handle: Handle | None = None,
        flags: int = 0,
        offset: int = -1,
        data: Any = b"",
        buffer: Any = None,
        function: str = "",
    ) -> None:
        self.kind, self.path, self.target = kind, path, target
        self.descriptor, self.handle, self.flags, self.offset = descriptor, handle, flags, offset
        self.data, self.buffer, self.function = data, buffer, function
        self.reached: list[bool] = []  # shared by all copies: whether the innermost handler was asked

    def replace(self, **changes: Any) -> Call:
        """A copy with `changes`, to be handed to `proceed` in the place of this call."""
        copy = object.__new__(Call)
        for name in Call.__slots__:
            setattr(copy, name, changes[name] if name in changes else getattr(self, name))
        return copy

    def __repr__(self) -> str:
        return f"<{self.kind} {self.path!r} by {self.function}>"


Proceed = Callable[[Call], Any]


class Handler(Protocol):
    """Who listens.  `level` orders the chain (`FAULTS`, `RECORDER`); `reads` asks for read, list and stat, too.

    `block_size` forces the buffer of every file that it wants, None leaves it to the file system.  `proceed`
    gives: the descriptor of open, the count of read and write, the names of list, the result of stat.
    """

    level: int
    reads: bool
    block_size: int | None

    def wants(self, path: str) -> bool:
        """Whether operations on this absolute path are this handler's business."""

    def __call__(self, call: Call, proceed: Proceed) -> Any:
        """Have the operation done, or another, or none; raise OSError where it fails."""


_handlers: tuple[Handler, ...] = ()
_numbers = itertools.count()  # of the open file descriptions of this process


def handlers() -> tuple[Handler, ...]:
    """Who listens now, outermost first."""
    return _handlers


def chain_of(*paths: str) -> tuple[tuple[Handler, ...], bool]:
    """The handlers that want any of `paths`, outermost first, and whether one of them wants reads."""
    chain: tuple[Handler, ...] = ()
    reads = False
    for handler in _handlers:
        for path in paths:
            if path and handler.wants(path):
                chain += (handler,)
                reads = reads or handler.reads
                break
    return chain, reads


def run(chain: tuple[Handler, ...], call: Call, real: Proceed) -> Any:
    """Send `call` down `chain` to `real`.  An OSError of an outer handler is told to the inner ones as refused."""
    if len(chain) == 1:
        return chain[0](call, real)
    proceed = real
    for handler in reversed(chain):
        proceed = _link(handler, proceed)
    try:
        return proceed(call)
    except OSError as error:
        if not call.reached:
            for handler in chain:
                refused = getattr(handler, "refused", None)
                if refused is not None:
                    refused(call, error)
        raise


def _link(handler: Handler, proceed: Proceed) -> Proceed:
    return lambda call: handler(call, proceed)


def set_handlers(handlers: tuple[Handler, ...]) -> None:
    """From now on these listen, on every thread; for `faultkit.interception.installing`."""
    global _handlers
    _handlers = tuple(sorted(handlers, key=lambda one: one.level))
