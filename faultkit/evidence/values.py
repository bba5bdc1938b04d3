"""What a cluster left, as frozen values: what each rank shows, and the file and line of every fact.

Guarantees: values only; making one reads nothing and runs nothing.  Ranks are those of the job; where a text counts
ranks within a process group, that is said (`Error.failures`).  Not covered: reading (`faultkit.evidence.reading`) and
drawing conclusions (`faultkit.evidence.telling`).
"""

from __future__ import annotations

import msgspec

__all__ = ["Entry", "Error", "Evidence", "Exit", "Frame", "Origin", "RankEvidence", "Stack"]


class Origin(msgspec.Struct, frozen=True):
    """Where a fact stands: a file, as it was named, and the line, from 1; 0 where it has no lines."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Frame(msgspec.Struct, frozen=True):
    """A line of a stack; `code` is the source that stands below it, where it was printed."""

    file: str
    line: int
    function: str
    code: str = ""


class Error(msgspec.Struct, frozen=True):
    """An exception that somebody printed; `frames` outermost first.

    `failures` maps ranks of the group of a save or load to what failed on them, as a CheckpointException tells it.
    """

    type_name: str
    message: str
    origin: Origin
    frames: tuple[Frame, ...] = ()
    failures: dict[int, Error] = {}
    seconds: float | None = None

    @property
    def is_checkpoint_exception(self) -> bool:
        return self.type_name == "CheckpointException"


class Exit(msgspec.Struct, frozen=True):
    """How a launcher saw a process end: a signal's name or a status.  `by_launcher`: it ended the process itself;
    `is_first`: it says that this was the first to fail."""

    origin: Origin
    exitcode: int = 0
    signal: str = ""
    by_launcher: bool = False
    is_first: bool = False
    seconds: float | None = None


class Entry(msgspec.Struct, frozen=True):
    """A collective in a flight recorder: `members` are the ranks of its group, () where they are not told.

    `sequence` is its number among the collectives of that group; `is_done` whether it completed.
    """

    group: str
    members: tuple[int, ...]
    sequence: int
    operation: str
    is_done: bool
    created_ns: int
    is_between_two: bool = False
    frames: tuple[Frame, ...] = ()


class Recorder(msgspec.Struct, frozen=True):
    """The flight recorder of a rank; `enqueued` is the last number of each group, `groups` the members of each."""

    rank: int
    origin: Origin
    entries: tuple[Entry, ...]
    enqueued: dict[str, int]
    groups: dict[str, tuple[int, ...]]


class Stack(msgspec.Struct, frozen=True):
    """A thread that did not end; `frames` innermost first."""

    origin: Origin
    frames: tuple[Frame, ...]
    thread: str = ""
    is_main: bool = True


class RankEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one rank.

    `kind` is "returned", "raised", "died", "hung", or "unknown" where nothing says it.  `waiting` names what it waits
    for: a collective, and the step of the engine where that is known.
    """

    rank: int
    kind: str = "unknown"
    error: Error | None = None
    exit: Exit | None = None
    stacks: tuple[Stack, ...] = ()
    recorder: Recorder | None = None
    waiting: str = ""
    step: str = ""
    origins: tuple[Origin, ...] = ()


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: each rank's, and how much was not understood.

    `world_size` is what the evidence says or implies, 0 where it says nothing.  `unread` names files that hold nothing
    that is known, with the reason; `lines` counts those of logs and `lines_understood` those that said something.
    """

    ranks: dict[int, RankEvidence]
    world_size: int = 0
    files: tuple[str, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
    lines: int = 0
    lines_understood: int = 0
    notes: tuple[str, ...] = ()
