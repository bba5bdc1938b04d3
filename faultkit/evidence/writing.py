"""What a cluster would have left of a run: a log, a launcher's summary, stacks; cases whose truth is known.

Guarantees: the formats are those that `faultkit.evidence.read` reads, and that torchrun, Python and faulthandler write;
frames of faultkit are left out, and so is what the plan says of itself.  Not covered: flight recorders, which only
processes have, and times.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from faultkit.own_frames import MACHINERY_PATTERN
from faultkit.runs.outcomes import Died, ErrorRecord, Hung, Outcome, Raised
from faultkit.runs.run import Run

__all__ = ["write"]

LOG, STACKS = "console.log", "stacks"
_OWN = re.compile(rf'\s*File "[^"]*{MACHINERY_PATTERN}')
_FRAME = re.compile(r'(\s*)File "')
_INJECTED = re.compile(r"injected by faultkit: [^\n]*")


def write(run: Run, folder: Path) -> tuple[Path, ...]:
    """Write what `run` would have left into `folder`, which is new or empty; the files.

    Raises ValueError where it is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"evidence must go to an empty folder ({str(folder)!r} is not)")
    files = [folder / LOG]
    lines: list[str] = []
    for rank, outcome in sorted(run.outcomes.items()):
        if isinstance(outcome, Raised):
            lines += [f"[rank{rank}]: {line}" for line in _without_own(_printed(outcome.error))]
            lines.append("")
        elif isinstance(outcome, Hung) and outcome.stack:
            path = folder / STACKS / f"rank_{rank}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(_without_own(outcome.stack)) + "\n")
            files.append(path)
    lines += _summary(run.outcomes)
    (folder / LOG).write_text("\n".join(lines) + "\n")
    return tuple(files)


def _printed(error: ErrorRecord) -> str:
    """What the interpreter prints of `error`: of a CheckpointException a block for each rank that failed."""
    if not error.failures:
        return error.traceback_text
    ranks = ", ".join(map(str, error.failures))
    parts = [
        _traceback(error.frames, ""),
        f"{error.module}.{error.type_name}: CheckpointException ranks:dict_keys([{ranks}])",
    ]
    for rank, failed in error.failures.items():
        module = "" if failed.module == "builtins" else f"{failed.module}."
        message = f": {failed.message}" if failed.message else ""
        parts += [_traceback(failed.frames, f" (RANK {rank})"), f"{module}{failed.type_name}{message}"]
    return "\n".join(parts)


def _traceback(frames: Iterable[tuple[str, int, str]], of: str) -> str:
    lines = [f"Traceback (most recent call last):{of}"]
    for file, number, function in frames:
        lines.append(f'  File "{file}", line {number}, in {function}')
        if code := linecache.getline(file, number).strip():
            lines.append(f"    {code}")
    return "\n".join(lines)


def _without_own(text: str) -> Iterator[str]:
    """The lines of a traceback without frames of faultkit, and without what a plan says of itself."""
    skipped_indent = None
    for line in text.splitlines():
        frame = _FRAME.match(line)
        if frame:
            skipped_indent = len(frame[1]) if _OWN.match(line) else None
        elif skipped_indent is not None and len(line) - len(line.lstrip()) <= skipped_indent:
            skipped_indent = None
        if skipped_indent is None:
            yield _INJECTED.sub("it failed", line)


def _summary(outcomes: dict[int, Outcome]) -> Iterator[str]:
    """The end of a log of torchrun, where processes died."""
    died = {rank: one for rank, one in outcomes.items() if isinstance(one, Died)}
    own = [rank for rank, one in died.items() if not one.by]
    if not own:
        return
    for rank, one in died.items():
        if one.by:
            yield (
                "W0101 00:00:00.000000 1 torch/distributed/elastic/multiprocessing/api.py:1] "
                f"Sending process {1000 + rank} closing signal SIGTERM"
            )
    yield "=" * 60
    yield "train.py FAILED"
    yield "-" * 60
    yield "Failures:"
    for number, rank in enumerate([rank for rank in died if rank != own[0]], 1):
        yield from _of_rank(number, rank, died[rank])
    yield "-" * 60
    yield "Root Cause (first observed failure):"
    yield from _of_rank(0, own[0], died[own[0]])
    yield "=" * 60


def _of_rank(number: int, rank: int, one: Died) -> Iterator[str]:
    import signal as signals

    code = -signals.Signals[one.signal].value if one.signal else int(one.exitcode or 0)
    yield f"[{number}]:"
    yield "  time      : 2026-01-01_00:00:00"
    yield "  host      : localhost"
    yield f"  rank      : {rank} (local_rank: {rank})"
    yield f"  exitcode  : {code} (pid: {1000 + rank})" + (f"  ({one.signal})" if one.signal else "")
    yield "  error_file: <N/A>"
    yield (
        f"  traceback : Signal {-code} ({one.signal}) received by PID {1000 + rank}"
        if one.signal
        else ("  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html")
    )
