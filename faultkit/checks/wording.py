"""How checks and the story put ranks, errors and stacks into words.

Text only: nothing here judges.  Every function bounds what it returns, since a message may hold megabytes
and a stack hundreds of frames.  Stacks are understood in the three forms that a rank can leave behind:
`faulthandler`, `traceback` and py-spy; a stack in any other form is shown as it is.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from faultkit import own_frames
from faultkit.runs.outcomes import ErrorRecord, Fired

__all__ = [
    "Frame",
    "clip",
    "name_error",
    "name_fired",
    "name_ranks",
    "plural",
    "spans",
    "top_frames",
    "user_frames",
    "without_own_frames",
    "wrapped",
]

WIDTH = 110
MESSAGE_CHARACTERS = 240
FAILURES_NAMED = 4


def wrapped(text: str, first: str = "  ", rest: str = "    ") -> str:
    """`text` in lines of a story, the first one behind `first`, the others behind `rest`; no word is broken."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def spans(ranks: Iterable[int]) -> str:
    """``"0-2, 5"``: ranks as the shortest list of numbers and spans of three or more."""
    parts: list[list[int]] = []
    for rank in sorted(set(ranks)):
        if parts and rank == parts[-1][-1] + 1:
            parts[-1].append(rank)
        else:
            parts.append([rank])
    texts: list[str] = []
    for part in parts:
        texts += [f"{part[0]}-{part[-1]}"] if len(part) > 2 else [str(rank) for rank in part]
    return ", ".join(texts)


def name_ranks(ranks: Iterable[int]) -> str:
    """``"rank 2"``, ``"ranks 0, 2-4"`` or ``"no rank"``."""
    ranks = set(ranks)
    if not ranks:
        return "no rank"
    return f"rank{'' if len(ranks) == 1 else 's'} {spans(ranks)}"


def plural(ranks: Iterable[object], one: str, many: str) -> str:
    """`one` or `many`, by how many ranks there are: ``plural(ranks, "was", "were")``."""
    return one if len(set(ranks)) == 1 else many


def clip(text: Any, limit: int = MESSAGE_CHARACTERS) -> str:
    """`text` on one line, at most about `limit` characters, with what is left out counted."""
    text = str(text)
    head = " ".join(text[: 4 * limit].split())
    if len(head) <= limit and len(text) <= 4 * limit:
        return head
    return f"{head[:limit].rstrip()}... ({len(text):,} characters)"


def name_error(error: ErrorRecord | None, limit: int = MESSAGE_CHARACTERS) -> str:
    """One line for an error; a ``CheckpointException`` is told by what it says about each failed rank."""
    if error is None:
        return "an error of unknown type"
    if not error.failures:
        return f"{error.type_name}: {clip(error.message, limit)}" if error.message else error.type_name
    step = f" in step {error.step!r}" if error.step else ""
    told = sorted(error.failures.items())
    parts = [f"rank {rank}: {name_error(failure, limit)}" for rank, failure in told[:FAILURES_NAMED]]
    if len(told) > FAILURES_NAMED:
        parts.append(f"and {len(told) - FAILURES_NAMED} more ranks")
    return f"{error.type_name}{step} naming {name_ranks(error.failures)} ({'; '.join(parts)})"


def name_fired(fired: Fired) -> str:
    """``"rank 2's raise(ValueError) at writer.write_data in step 'write'"``."""
    moment = "" if fired.fault.moment == "before" else f":{fired.fault.moment}"
    step = f" in step {fired.step!r}" if fired.step else ""
    file = fired.path.rstrip("/").rpartition("/")[2]
    place = "child process" if fired.child else "helper thread" if fired.thread == "helper" else ""
    files = ", ".join(clip(part) for part in (file, place) if part)
    point = f"{fired.point or fired.fault.point}{moment}{f' ({files})' if files else ''}"
    return f"rank {fired.rank}'s {clip(fired.fault.action)} at {point}{step}"


class Frame(msgspec.Struct, frozen=True):
    """One call of a stack: `function` in `file` at `line`."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} ({'/'.join(self.file.split('/')[-2:])}:{self.line})"


_PYTHON_FRAME = re.compile(r'^\s*File "(?P<file>[^"]*)", line (?P<line>\d+),? in (?P<function>.+?)\s*$')
_PY_SPY_FRAME = re.compile(r"^\s+(?P<function>[^\s(][^(]*?) \((?P<file>[^():]+):(?P<line>\d+)\)\s*$")
_THREAD = re.compile(r"^(Current thread|Thread) ")
_MACHINERY = re.compile(
    r"(^|/)(threading|runpy|selectors|queue|contextlib|functools)\.py$|<frozen|<string>"
    r"|(^|/)(multiprocessing|concurrent/futures|cloudpickle|pytest_faultkit)/"
    rf"|(^|/){own_frames.MACHINERY_PATTERN}"
    r"|(^|/)site-packages/(hypothesis|_pytest|pluggy)/"
    r"|(^|/)torch/(utils/_contextlib|distributed/(c10d_logger|checkpoint/logger|checkpoint/api))\.py$"
)


_RUNNER = re.compile(r"(^|/)(pytest_faultkit|site-packages/(hypothesis|_pytest|pluggy))/")
_INSTALLED = (str(Path(re.__file__).parents[1]) + "/", "<")  # the standard library, and code without a file


def _is_machinery(file: str) -> bool:
    return file.startswith(own_frames.ROOT) or bool(_MACHINERY.search(file))


def user_frames(frames: Iterable[tuple[str, int, str]], limit: int = 8) -> tuple[Frame, ...]:
    """Of the frames of an error, outermost first, those of the user's own code, innermost first, at most `limit`:
    of a longer row both ends.  What is installed (packages, the standard library) is not the user's."""
    found = [
        Frame(function, file, line)
        for file, line, function in frames
        if file not in ("", "...")
        and not file.startswith(_INSTALLED)
        and not _is_machinery(file)
        and not any(part in file for part in ("/site-packages/", "/dist-packages/"))
    ][::-1]
    return tuple(found if len(found) <= limit else [*found[: limit // 2], *found[-(limit - limit // 2) :]])


_FRAME_LINE = re.compile(r'\s*File "([^"]*)", line \d+, in ')


def without_own_frames(text: str) -> str:
    """A traceback as the interpreter prints it, or what holds one, without the frames of faultkit and what runs tests.

    The engine writes the tracebacks of other ranks into its messages; a ``|`` or ``E`` before a line is kept.
    """
    kept: list[str] = []
    depth_left_out: int | None = None  # of the frame that is left out, until a line stands no deeper
    for line in text.splitlines():
        body = line.lstrip("E |")
        depth = len(line) - len(body)
        if depth_left_out is not None and depth > depth_left_out and not body.startswith('File "'):
            continue
        frame = _FRAME_LINE.match(body)
        depth_left_out = depth if frame and _is_runner(frame[1]) else None
        if depth_left_out is None:
            kept.append(line)
    return "\n".join(kept)


def _is_runner(file: str) -> bool:
    return file.startswith(own_frames.ROOT) or bool(_RUNNER.search(file))


def top_frames(stack: str, limit: int = 12) -> tuple[Frame, ...]:
    """The frames of the engine and of the user, innermost first, at most `limit`; () if none is recognised.

    Of several threads the one inside ``torch/distributed`` counts, else the first that is not only machinery.
    Frames of thread pools, of decorators and of faultkit itself are left out.
    """
    threads: list[list[Frame]] = [[]]
    innermost_last = "most recent call last" in stack
    for line in stack.splitlines():
        if _THREAD.match(line):
            threads.append([])
        elif match := _PYTHON_FRAME.match(line) or _PY_SPY_FRAME.match(line):
            threads[-1].append(Frame(match["function"], match["file"], int(match["line"])))
    shown = [[frame for frame in frames if not _is_machinery(frame.file)] for frames in threads]
    if innermost_last:
        shown = [frames[::-1] for frames in shown]
    inside = [frames for frames in shown if any("torch/distributed/" in frame.file for frame in frames)]
    chosen = (inside or [frames for frames in shown if frames] or [[]])[0]
    return tuple(chosen[:limit])
