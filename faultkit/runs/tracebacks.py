"""Tracebacks as plain values: frames taken cheaply on a rank, text and live tracebacks made from them later.

Formatting a traceback reads source files and costs a rank more than the save that failed, so a rank sends only
file, line and function of each frame.  The parent, which is on the same machine, makes the text when somebody
asks for it: in the interpreter's own form, with the chain, notes and groups.  Not covered: the carets under the
failing expression.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faultkit.runs.outcomes import ErrorRecord

__all__ = ["Frame", "frames_of", "revive", "text_of"]

Frame = tuple[str, int, str]  # file, line (1-based), function

FRAME_COUNT_MAX = 300


def frames_of(source: Any) -> tuple[Frame, ...]:
    """The frames of a traceback, or of a `traceback.StackSummary`, outermost first; of a long one both ends."""
    frames: list[Frame] = []
    if isinstance(source, traceback.StackSummary):
        frames = [(str(f.filename), int(f.lineno or 0), str(f.name)) for f in source]
    while isinstance(source, TracebackType):
        code = source.tb_frame.f_code
        frames.append((code.co_filename, source.tb_lineno, code.co_name))
        source = source.tb_next
    if len(frames) > FRAME_COUNT_MAX:
        half = FRAME_COUNT_MAX // 2
        left_out = ("...", 0, f"{len(frames) - 2 * half} frames left out")
        frames = [*frames[:half], left_out, *frames[-half:]]
    return tuple(frames)


def revive(frames: tuple[Frame, ...]) -> TracebackType | None:
    """A live traceback with these frames, which prints and can be raised with; None for no frames."""
    import tblib

    data: dict[str, Any] | None = None
    for file, line, function in reversed(frames):
        data = {
            "tb_frame": {
                "f_globals": {"__name__": function, "__file__": file},
                "f_locals": {},
                "f_code": {"co_filename": file, "co_name": function},
                "f_lineno": line,
            },
            "tb_lineno": max(line, 1),
            "tb_next": data,
        }
    return None if data is None else tblib.Traceback.from_dict(data).as_traceback()


def text_of(error: ErrorRecord, *, chain: bool = True) -> str:
    """What the interpreter would print for `error`, ending with a line break."""
    lines: list[str] = []
    if chain and error.cause is not None:
        lines += [
            text_of(error.cause),
            "\nThe above exception was the direct cause of the following exception:\n\n",
        ]
    elif chain and error.context is not None:
        lines += [
            text_of(error.context),
            "\nDuring handling of the above exception, another exception occurred:\n\n",
        ]
    if error.frames:
        stack = traceback.StackSummary.from_list((*frame, None) for frame in error.frames)
        lines += ["Traceback (most recent call last):\n", *stack.format()]
    name = (
        error.type_name if error.module in ("builtins", "__main__") else f"{error.module}.{error.type_name}"
    )
    lines.append(f"{name}: {error.message}\n" if error.message else f"{name}\n")
    lines += [f"{note}\n" for note in error.notes]
    for rank, failure in (error.failures or {}).items():
        lines.append(f"  +-- rank {rank}\n" + _indented(text_of(failure), "  | "))
    for number, member in enumerate(error.members, 1):
        lines.append(f"  +-- member {number}\n" + _indented(text_of(member), "  | "))
    return "".join(lines)


def _indented(text: str, prefix: str) -> str:
    return "".join(f"{prefix}{line}\n" for line in text.splitlines())
