"""The catalogue of actions: what a fault can do when it fires, as data.

    raise(exception[, errno][, "message"][, stay|leave])      raise an exception
    memory[(megabytes)]                                       allocate until the limit, for a real MemoryError
    delay(seconds)                                            go on later
    hang[(python|native)]                                     never come back, with or without the interpreter
    stop[(resume_seconds)]                                    SIGSTOP, and SIGCONT after that time if given
    exit[(code)]   kill[(signal)]   segfault                  the process ends
    limit(bytes)                                              no file of the process may grow beyond (a real limit)

and of files alone, at points of layer ``fs`` (`ActionSpec.points` tells which):

    full(bytes[, errno])                                      there is room for so much, then the disk is full
    short[(bytes)]                                            only so much is read or written, as the call says
    torn[(bytes[, errno])]                                    so much is written, then the process dies, or an error
    lie                                                       reported as done, and not done
    flip[(byte[, bit])]   zero[(bytes[, start])]              damaged data, in a call or, at an open, in the file
    cut[(bytes)]                                              the file ends there; of a write only so much is kept
    stale[("path")]   missing                                 an old version of the file; no file at all

`ActionSpec.usage` writes the shape of each as above.  Not covered: the value of one action with its arguments
(`faultkit.plan.actions`), and how an action is performed on a rank (`faultkit.injection.perform`).
"""

from __future__ import annotations

import msgspec

from faultkit.plan.parameters import BYTES_MAX, MEGABYTES_MAX, SECONDS_MAX, Parameter

__all__ = ["ACTIONS", "ActionSpec"]


class ActionSpec(msgspec.Struct, frozen=True):
    """One action of the catalogue.

    `family` is ``error`` (the call fails), ``time`` (it takes longer), ``stop`` (it does not come back, the
    process lives), ``death`` (the process ends) or ``file`` (data or names are not what they should be).
    `needs` names the signals that the platform must have; `points` the points of layer ``fs`` at which alone the
    action makes sense, () where it may happen anywhere.
    """

    name: str
    parameters: tuple[Parameter, ...]
    summary: str
    family: str
    needs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """The shape of the action in the grammar, such as ``exit[(code)]``."""
        text = ""
        for parameter in self.parameters:
            word = "|".join(parameter.choices) or parameter.name
            word = ", " * bool(text) + (f'"{word}"' if parameter.type == "message" else word)
            text += word if parameter.required or not text else f"[{word}]"
        if not text:
            return self.name
        return f"{self.name}({text})" if self.parameters[0].required else f"{self.name}[({text})]"


_VIEWS = ("open", "create_stream")  # where a reader gets a file as a whole
_DATA = ("read", "write", *_VIEWS)


def _bytes(name: str, doc: str, default: int | None = None, required: bool = False) -> Parameter:
    return Parameter(name, "integer", default, doc, required=required, maximum=BYTES_MAX)


_CATALOGUE = (
    ActionSpec(
        "raise",
        (
            Parameter("exception", "exception", None, "a builtin exception, or module:Name", required=True),
            Parameter("errno", "errno", None, "error number by name, for OSError and its subclasses"),
            Parameter("message", "message", None, "text of the exception"),
            Parameter("after", "choice", "stay", "whether the process lives on", choices=("stay", "leave")),
        ),
        "raise an exception",
        "error",
    ),
    ActionSpec(
        "memory",
        (Parameter("megabytes", "integer", None, "limit in MiB", minimum=1, maximum=MEGABYTES_MAX),),
        "allocate memory until the limit, for a real MemoryError",
        "error",
    ),
    ActionSpec(
        "delay",
        (Parameter("seconds", "number", None, "how long", required=True, maximum=SECONDS_MAX),),
        "wait, then go on",
        "time",
    ),
    ActionSpec(
        "hang",
        (Parameter("how", "choice", "python", "in Python, or in native code", choices=("python", "native")),),
        "never come back; native holds the interpreter lock",
        "stop",
    ),
    ActionSpec(
        "stop",
        (Parameter("resume_seconds", "number", None, "continue after this time", maximum=SECONDS_MAX),),
        "stop the process as SIGSTOP does, for ever or for a time",
        "stop",
        needs=("SIGSTOP", "SIGCONT"),
    ),
    ActionSpec(
        "exit",
        (Parameter("code", "integer", 1, "exit status", shown=True, maximum=255),),
        "end the process at once, without cleaning up",
        "death",
    ),
    ActionSpec(
        "kill",
        (Parameter("signal", "signal", "SIGKILL", "signal by name", shown=True),),
        "send the process a signal",
        "death",
    ),
    ActionSpec("segfault", (), "end the process by an invalid memory access", "death"),
    ActionSpec(
        "limit",
        (_bytes("bytes", "how large a file may become", required=True),),
        "set a real limit on the size of files (EFBIG), until the end of the run",
        "file",
        needs=("SIGXFSZ",),
    ),
    ActionSpec(
        "full",
        (
            _bytes("bytes", "how much can still be written in all", required=True),
            Parameter("errno", "errno", "ENOSPC", "what a write then fails with"),
        ),
        "accept so many bytes in all, then fail as a full disk does",
        "file",
        points=("write",),
    ),
    ActionSpec(
        "short",
        (_bytes("bytes", "how much (default half)"),),
        "read or write only a part, and say so",
        "file",
        points=("read", "write"),
    ),
    ActionSpec(
        "torn",
        (
            _bytes("bytes", "how much reaches the file (default half)"),
            Parameter("errno", "errno", None, "an error to end with, instead of SIGKILL"),
        ),
        "write a part, then end the process, or fail",
        "file",
        points=("write",),
    ),
    ActionSpec(
        "lie",
        (),
        "report the call as done without doing it, as a lying disk does",
        "file",
        points=(
            "write",
            "fsync",
            "flush",
            "truncate",
            "rename",
            "mkdir",
            "rm_file",
            "unlink",
            "link",
            "rmdir",
        ),
    ),
    ActionSpec(
        "flip",
        (
            _bytes("byte", "which byte (default the middle one)"),
            Parameter("bit", "integer", 0, "which bit of it", maximum=7),
        ),
        "flip one bit of the data",
        "file",
        points=_DATA,
    ),
    ActionSpec(
        "zero",
        (
            _bytes("bytes", "how many", default=512),
            _bytes("start", "from which byte on (default around the middle)"),
        ),
        "zero a block of the data",
        "file",
        points=_DATA,
    ),
    ActionSpec(
        "cut",
        (_bytes("bytes", "how much is left (default half)"),),
        "end the file there for who opens it; keep only so much of a write that is reported whole",
        "file",
        points=("write", *_VIEWS),
    ),
    ActionSpec(
        "stale",
        (
            Parameter(
                "path", "message", None, "the file that holds it; default what this rank saw there before"
            ),
        ),
        "give an old version of the file to who opens it",
        "file",
        points=_VIEWS,
    ),
    ActionSpec(
        "missing",
        (),
        "there is no such file: opening it fails, looking it up denies it, a listing leaves it out",
        "file",
        points=(*_VIEWS, "exists", "stat", "listdir", "rename", "rm_file", "unlink"),
    ),
)

ACTIONS: dict[str, ActionSpec] = {spec.name: spec for spec in _CATALOGUE}
