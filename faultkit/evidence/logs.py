"""Logs, line by line: tracebacks, CheckpointExceptions, words of gloo and NCCL, a launcher's summary, stacks.

Guarantees: one pass, with memory bounded by what is understood and not by the size of the log; lines of several ranks
may be interleaved as long as each says whose it is.  What a pattern does not know is counted and left alone.  Not
covered: compressed files and other formats (`faultkit.evidence.reading`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from faultkit.evidence.prefixes import Line, strip
from faultkit.evidence.values import Error, Exit, Frame, Origin, Stack

__all__ = ["LogReader"]

MESSAGE_CHARACTERS_MAX = 20_000
FRAMES_MAX = 200
CODE_CHARACTERS_MAX = 300
BLOCKS_MAX = 4_096  # failures of one CheckpointException
KEPT_MAX = 50_000  # facts of one log

_TRACEBACK = re.compile(
    r"\s*(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\):(?: \(RANK (\d{1,7})\))?$"
)
_FRAME = re.compile(r'\s*\|?\s*File "([^"]{1,4096})", line (\d{1,9})(?:, in (.{1,400}))?$')
_ERROR = re.compile(r"([A-Za-z_][\w.]{0,200})(?:: ?(.*))?$")
_NAMED = re.compile(r"(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*|\w*(?:Error|Exception|Exit|Interrupt|Warning))$")
_CHECKPOINT = re.compile(
    r"(?:[\w.]*\.)?CheckpointException: CheckpointException ranks:dict_keys\(\[([\d, ]{0,40000})\]\)"
)
_ENDS = ("Error", "Exception", "Exit", "Interrupt", "Group", "Iteration")
_CHAINED = re.compile(r"(The above exception was the direct cause|During handling of the above exception)")
_WATCHDOG = re.compile(
    r".{0,200}?\[Rank (\d{1,7})\] Watchdog caught collective operation timeout: "
    r"WorkNCCL\(SeqNum=(\d{1,12}), OpType=(\w{1,40})"
)
_FAILED = re.compile(r"failed \(exitcode: (-?\d{1,5})\) local_rank: (\d{1,5}) \(pid: (\d{1,9})\)")
_CLOSING = re.compile(r"Sending process (\d{1,9}) closing signal (SIG\w{1,10})")
_FIELD = re.compile(r"\s{1,8}(time|host|rank|exitcode|error_file|traceback)\s{0,12}: (.*)$")
_RANK_FIELD = re.compile(r"(\d{1,7}) \(local_rank: (\d{1,5})\)")
_EXIT_FIELD = re.compile(r"(-?\d{1,5}) \(pid: (\d{1,9})\)\s*(?:\((SIG\w{1,10})\))?")
_ROOT_CAUSE = "Root Cause (first observed failure):"
_PYSPY = re.compile(r'Thread (?:0x)?[0-9A-Fa-f]{1,16} \((?:idle|active)[^)]{0,40}\)(?:: "([^"]{0,200})")?')
_PYSPY_FRAME = re.compile(r"\s{4,8}(\S.{0,300}?) \(([^()]{1,400}):(\d{1,9})\)$")
_DUMPED = re.compile(
    r"(Current thread|Thread) 0x[0-9A-Fa-f]{1,16}(?: \[[^\]]{0,100}\])? \(most recent call first\):"
)
_DUMPED_FRAME = re.compile(r'  File "([^"]{1,4096})", line (\d{1,9}) in (.{1,400})$')
_FATAL = re.compile(r"Fatal Python error: (.{1,200})")


class _Open(msgspec.Struct):
    """A traceback that is being read."""

    origin: Origin
    group_rank: int | None = None
    frames: list[Frame] = []
    type_name: str = ""
    message: list[str] = []
    length: int = 0
    seconds: float | None = None
    wants_code: bool = False


class _Process(msgspec.Struct):
    """The lines of one process: what is open, and what was said."""

    open: _Open | None = None
    checkpoint: _Open | None = None  # a CheckpointException whose blocks follow
    blocks: dict[int, Error] = {}
    stack: tuple[str, list[Frame], Origin, bool] | None = None
    rank: int | None = None


class LogReader:
    """Takes lines, gives facts: `errors`, `exits`, `stacks`, each with the rank that it is of, None where not told."""

    def __init__(self, name: str, rank: int | None = None) -> None:
        self.name = name
        self.rank = rank
        self.lines = self.understood = 0
        self.errors: list[tuple[int | None, Error]] = []
        self.exits: list[tuple[int, Exit]] = []
        self.stacks: list[tuple[int | None, Stack]] = []
        self.watchdogs: list[tuple[int, str, Origin]] = []
        self._processes: dict[tuple[str, ...], _Process] = {}
        self._summary: dict[str, str] | None = None
        self._is_first = False
        self._closing: set[str] = set()
        self._summary_origin = Origin(name)

    def feed(self, lines: Iterable[str]) -> None:
        """Take `lines`, with or without their ends."""
        for raw in lines:
            self.lines += 1
            self._take(strip(raw.rstrip("\r\n")))

    def pass_over(self, count: int) -> None:
        """Count lines that say nothing: none of them has what a fact begins with, and none is open."""
        self.lines += count

    @property
    def is_open(self) -> bool:
        """Whether a traceback, a stack or a summary is being read, so that the next lines belong to it."""
        return self._summary is not None or any(
            process.open is not None or process.stack is not None or process.checkpoint is not None
            for process in self._processes.values()
        )

    def close(self) -> None:
        """No more comes: what is open ends."""
        for process in self._processes.values():
            self._end(process)
            self._end_checkpoint(process)
            self._end_stack(process)
        self._end_summary()

    # -- one line ------------------------------------------------------------------------------------------

    def _take(self, line: Line) -> None:
        process = self._processes.setdefault(line.key, _Process())
        rank = line.rank if line.rank is not None else (line.local_rank if self.rank is None else self.rank)
        if rank is not None:
            process.rank = rank
        if len(self.errors) + len(self.stacks) + len(self.exits) > KEPT_MAX:
            return
        text = line.text
        if self._takes_summary(text):
            self.understood += 1
            return
        if process.open is not None and not self._continues(process, text, line):
            self._end(process)
        if process.open is None:
            self._begins(process, text, line)

    def _origin(self) -> Origin:
        return Origin(self.name, self.lines)

    def _begins(self, process: _Process, text: str, line: Line) -> None:
        match = _TRACEBACK.match(text)
        if match:
            self._end_stack(process)
            group_rank = int(match[1]) if match[1] else None
            if group_rank is None:
                self._end_checkpoint(process)
            process.open = _Open(self._origin(), group_rank, [], "", [], 0, line.seconds)
            self.understood += 1
            return
        if process.stack is not None:
            frame = _PYSPY_FRAME.match(text) or _DUMPED_FRAME.match(text)
            if frame:
                self.understood += 1
                if len(process.stack[1]) < FRAMES_MAX:
                    process.stack[1].append(
                        Frame(frame[2], int(frame[3]), frame[1].rpartition(".")[2])
                        if _PYSPY_FRAME.match(text)
                        else Frame(frame[1], int(frame[2]), frame[3])
                    )
                return
            self._end_stack(process)
        if match := _PYSPY.match(text):
            process.stack = (match[1] or "", [], self._origin(), match[1] == "MainThread")
        elif match := _DUMPED.match(text):
            process.stack = (match[1], [], self._origin(), match[1] == "Current thread")
        elif match := _WATCHDOG.match(text):
            self.watchdogs.append((int(match[1]), f"{match[3]} {match[2]}", self._origin()))
        elif match := _FAILED.search(text[:1000]):
            self._process_ended(int(match[2]), int(match[1]), "", False, line.seconds)
        elif match := _CLOSING.search(text[:1000]):
            self._closing.add(match[1])
        elif match := _FATAL.match(text):
            self.errors.append((process.rank, Error("FatalPythonError", match[1], self._origin())))
        elif match := _CHECKPOINT.match(text):  # without a traceback of its own
            process.checkpoint = _Open(
                self._origin(), None, [], "CheckpointException", [text], 0, line.seconds
            )
        else:
            return
        self.understood += 1

    def _continues(self, process: _Process, text: str, line: Line) -> bool:
        """Whether `text` belongs to the traceback that is open."""
        block = process.open
        assert block is not None
        if block.type_name:
            if not text or _TRACEBACK.match(text) or _CHAINED.match(text) or _FRAME.match(text):
                return False
            if line.seconds is not None and line.seconds != block.seconds:  # somebody else logs
                return False
            block.length += len(text)
            if block.length <= MESSAGE_CHARACTERS_MAX:
                block.message.append(text)
            self.understood += 1
            return True
        if frame := _FRAME.match(text):
            if len(block.frames) < FRAMES_MAX:
                block.frames.append(Frame(frame[1], int(frame[2]), frame[3] or "<module>"))
            block.wants_code = True
        elif not text.startswith("   ") and (match := _error_line(text)):
            block.type_name = match[1]
            block.message = [match[2] or ""]
        elif text and not text.startswith((" ", "|", "+")):
            return False
        elif block.wants_code and block.frames:
            block.frames[-1] = msgspec.structs.replace(
                block.frames[-1], code=text.strip()[:CODE_CHARACTERS_MAX]
            )
            block.wants_code = False
        self.understood += 1
        return True

    # -- what is over --------------------------------------------------------------------------------------

    def _end(self, process: _Process) -> None:
        block, process.open = process.open, None
        if block is None or not block.type_name:
            return
        name = block.type_name.rpartition(".")[2]
        if block.group_rank is not None:
            if len(process.blocks) < BLOCKS_MAX:
                process.blocks[block.group_rank] = _error(block, name)
            return
        if name == "CheckpointException" and block.message[0].startswith("CheckpointException ranks:"):
            process.checkpoint, process.blocks = block, {}
            return
        self.errors.append((process.rank, _error(block, name)))

    def _end_checkpoint(self, process: _Process) -> None:
        block, process.checkpoint = process.checkpoint, None
        if block is None:
            return
        blocks, process.blocks = process.blocks, {}
        named = _CHECKPOINT.match(f"CheckpointException: {block.message[0]}") or _CHECKPOINT.match(
            block.message[0]
        )
        for text in named[1].split(",") if named else ():
            if text.strip():
                blocks.setdefault(int(text), Error("", "", block.origin))
        error = msgspec.structs.replace(_error(block, "CheckpointException"), failures=blocks)
        self.errors.append((process.rank, error))

    def _end_stack(self, process: _Process) -> None:
        stack, process.stack = process.stack, None
        if stack is not None and stack[1]:
            name, frames, origin, is_main = stack
            self.stacks.append((process.rank, Stack(origin, tuple(frames), name, is_main)))

    # -- the summary of torchrun ---------------------------------------------------------------------------

    def _takes_summary(self, text: str) -> bool:
        if text.strip() == _ROOT_CAUSE:
            self._end_summary()
            self._is_first = True
            return True
        if text.strip() == "Failures:":
            self._is_first = False
            return True
        match = _FIELD.match(text)
        if not match:
            return False
        if match[1] == "time":
            self._end_summary()
            self._summary, self._summary_origin = {}, self._origin()
        if self._summary is None:
            return False
        self._summary[match[1]] = match[2]
        return match[1] != "traceback"

    def _end_summary(self) -> None:
        summary, self._summary = self._summary, None
        if not summary:
            return
        rank = _RANK_FIELD.match(summary.get("rank", ""))
        ended = _EXIT_FIELD.match(summary.get("exitcode", ""))
        if rank is None or ended is None:
            return
        by_launcher = ended[2] in self._closing
        self._process_ended(
            int(rank[1]),
            int(ended[1]),
            ended[3] or "",
            by_launcher,
            strip(f"{summary.get('time', '')} x").seconds,
            self._is_first,
            self._summary_origin,
        )

    def _process_ended(
        self,
        rank: int,
        exitcode: int,
        signal: str,
        by_launcher: bool,
        seconds: float | None,
        is_first: bool = False,
        origin: Origin | None = None,
    ) -> None:
        import signal as signals

        if exitcode < 0 and not signal:
            try:
                signal = signals.Signals(-exitcode).name
            except ValueError:
                signal = f"signal {-exitcode}"
        made = Exit(origin or self._origin(), exitcode, signal, by_launcher, is_first, seconds)
        self.exits.append((rank, made))


def _error_line(text: str) -> re.Match[str] | None:
    """The line that ends a traceback, with the exception and its message; None for anything else at the left margin."""
    match = _ERROR.match(text.lstrip(" |+-"))
    if match is None or not _NAMED.match(match[1]):
        return None
    return match if match[2] is not None or match[1].endswith(_ENDS) else None


def _error(block: _Open, name: str) -> Error:
    message = "\n".join(block.message).strip()
    return Error(name, message, block.origin, tuple(block.frames), {}, block.seconds)
