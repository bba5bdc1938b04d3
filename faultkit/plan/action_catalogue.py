"""The catalogue of actions: what a fault can do when it fires, as data.

    raise(exception[, errno][, "message"][, stay|leave])      raise an exception
    memory[(megabytes)]                                       allocate until the limit, for a real MemoryError
    delay(seconds)                                            go on later
    hang[(python|native)]                                     never come back, with or without the interpreter
    stop[(resume_seconds)]                                    SIGSTOP, and SIGCONT after that time if given
    exit[(code)]   kill[(signal)]   segfault                  the process ends
    terminate(grace_seconds)                                  it is asked to end, and ended after that time
    limit(bytes)                                              no file of the process may grow beyond (a real limit)
    descriptors[(count)]                                      so many more can be opened (a real limit)

and of files alone, at points of layer ``fs`` (`ActionSpec.points` tells which):

    full(bytes[, errno])                                      there is room for so much, then the disk is full
    short[(bytes)]                                            only so much is read or written, as the call says
    torn[(bytes[, errno])]                                    so much is written, then the process dies, or an error
    lie                                                       reported as done, and not done
    flip[(byte[, bit])]   zero[(bytes[, start])]              damaged data, in a call or, at an open, in the file
    cut[(bytes)]                                              the file ends there; of a write only so much is kept
    stale[("path")]   missing                                 an old version of the file; no file at all

and of what a call gives, at points where it gives something (`Point.gives`):

    shorten[(count)]                                          the last of it is missing
    returns(None|False|True)                                  this instead
    earlier                                                   what the call before gave
    swap[(items|names|offsets|sizes)]                         two parts of it stand for each other

and of requests, at points of layer ``http``:

    status(code[, "error"])                                   this is answered
    reset                                                     nothing is: the connection is reset
    sever[(bytes)]                                            only so much of the answer comes

All that is asked of an action elsewhere stands here, so that
nothing else compares with its name: `faultkit.plan.actions.Action` derives from it what holds with given arguments.
Not covered: how an action is performed (`faultkit.injection.perform`, `faultkit.injection.files.data`,
`faultkit.injection.requests`, `faultkit.injection.values`, `faultkit.repro.script`: tables by name).
"""

from __future__ import annotations

from typing import Any

from faultkit.plan.action_spec import (
    DAMAGE,
    DEATH,
    ERROR,
    FREEZE,
    HARMLESS,
    HIDDEN,
    LIMIT,
    STOPPING_SIGNALS,
    TIME,
    ActionSpec,
    Obstacle,
)
from faultkit.plan.parameters import BYTES_MAX, MEGABYTES_MAX, SECONDS_MAX, Parameter

__all__ = ["ACTIONS"]

_STOPS_ALL = "it would stop the process that all ranks share"
_OTHERS = "only the proxy of a rank that is a process answers requests"
_NO_REQUESTS: dict[str, Any] = {
    "on_simulated": (Obstacle(_OTHERS, "raise(OSError, EIO) at fs.create_stream"),),
    "in_native": (Obstacle("native code below Python makes no requests that are seen"),),
}
_VIEWS = ("open", "create_stream")  # where a reader gets a file as a whole
_DATA = ("read", "write", *_VIEWS)


def _bytes(name: str, doc: str, default: int | None = None, required: bool = False) -> Parameter:
    return Parameter(name, "integer", default, doc, required=required, maximum=BYTES_MAX)


_CATALOGUE = (
    ActionSpec(
        name="raise",
        parameters=(
            Parameter("exception", "exception", None, "a builtin exception, or module:Name", required=True),
            Parameter("errno", "errno", None, "error number by name, for OSError and its subclasses"),
            Parameter("message", "message", None, "text of the exception"),
            Parameter("after", "choice", "stay", "whether the process lives on", choices=("stay", "leave")),
        ),
        summary="raise an exception",
        family="error",
        effect=ERROR,
        in_child=(
            Obstacle("it ends when its own work does", "the same without leave", given="after", word="leave"),
        ),
    ),
    ActionSpec(
        name="memory",
        parameters=(
            Parameter("megabytes", "integer", None, "limit in MiB", minimum=1, maximum=MEGABYTES_MAX),
        ),
        summary="allocate memory until the limit, for a real MemoryError",
        family="error",
        effect=ERROR,
        explains=("MemoryError",),
        may_end=True,
        on_simulated=(Obstacle("all ranks share the memory of one process", "raise(MemoryError)"),),
        in_native=(
            Obstacle("native code cannot be given a MemoryError; raise(OSError, ENOMEM) is the nearest"),
        ),
    ),
    ActionSpec(
        name="delay",
        parameters=(Parameter("seconds", "number", None, "how long", required=True, maximum=SECONDS_MAX),),
        summary="wait, then go on",
        family="time",
        effect=TIME,
    ),
    ActionSpec(
        name="hang",
        parameters=(
            Parameter(
                "how", "choice", "python", "in Python, or in native code", choices=("python", "native")
            ),
        ),
        summary="never come back; native holds the interpreter lock",
        family="stop",
        effect=FREEZE,
        holds="thread",
    ),
    ActionSpec(
        name="stop",
        parameters=(
            Parameter("resume_seconds", "number", None, "continue after this time", maximum=SECONDS_MAX),
        ),
        summary="stop the process as SIGSTOP does, for ever or for a time",
        family="stop",
        effect=FREEZE,
        holds="process",
        needs=("SIGSTOP", "SIGCONT"),
        on_simulated=(
            Obstacle(_STOPS_ALL, "delay({seconds:g})", given="resume_seconds"),
            Obstacle(_STOPS_ALL, "hang(native)"),
        ),
        in_native=(
            Obstacle(
                "a forked child that is stopped for a time has nobody to continue it; use delay, or stop",
                given="resume_seconds",
                of_children=True,
            ),
        ),
        in_child=(
            Obstacle("nobody continues one that is stopped", "delay({seconds:g})", given="resume_seconds"),
        ),
    ),
    ActionSpec(
        name="exit",
        parameters=(Parameter("code", "integer", 1, "exit status", shown=True, maximum=255),),
        summary="end the process at once, without cleaning up",
        family="death",
        effect=DEATH,
    ),
    ActionSpec(
        name="kill",
        parameters=(Parameter("signal", "signal", "SIGKILL", "signal by name", shown=True),),
        summary="send the process a signal",
        family="death",
        effect=DEATH,
        explains=("KeyboardInterrupt",),  # what the interpreter makes of SIGINT
        on_simulated=(
            Obstacle(_STOPS_ALL, "hang(native)", signals=STOPPING_SIGNALS),
            Obstacle("a thread gets no signals", "raise(KeyboardInterrupt)", signals=("SIGINT",)),
        ),
    ),
    ActionSpec(
        name="terminate",
        parameters=(
            Parameter(
                "grace_seconds",
                "number",
                None,
                "how long it may take to end",
                required=True,
                maximum=SECONDS_MAX,
            ),
        ),
        summary="send SIGTERM, and SIGKILL after a time of grace, as a scheduler does that takes a machine away",
        family="death",
        effect=DEATH,
        on_simulated=(Obstacle("no time of grace runs out for a thread", "kill(SIGTERM)"),),
        in_native=(Obstacle("the library keeps no time; kill(SIGTERM) is the nearest"),),
    ),
    ActionSpec(
        name="segfault",
        summary="end the process by an invalid memory access",
        family="death",
        effect=DEATH,
        on_simulated=(Obstacle("it would end the process that all ranks share", "kill(SIGSEGV)"),),
    ),
    ActionSpec(
        name="limit",
        parameters=(_bytes("bytes", "how large a file may become", required=True),),
        summary="set a real limit on the size of files (EFBIG), until the end of the run",
        family="file",
        effect=LIMIT,
        explains=("OSError", "EFBIG"),
        needs=("SIGXFSZ",),
        on_simulated=(
            Obstacle("all ranks share the limits of one process", "full, which fails the writes of one rank"),
        ),
    ),
    ActionSpec(
        name="descriptors",
        parameters=(
            Parameter("count", "integer", 0, "how many more can be opened", shown=True, maximum=BYTES_MAX),
        ),
        summary="set a real limit on the number of open files (EMFILE), until the end of the run",
        family="file",
        effect=LIMIT,
        explains=("OSError", "EMFILE"),
        on_simulated=(
            Obstacle("all ranks share the descriptors of one process", "raise(OSError, EMFILE) at fs.open"),
        ),
        in_native=(
            Obstacle("the library sets no limit on descriptors; raise(OSError, EMFILE) is the nearest"),
        ),
    ),
    ActionSpec(
        name="full",
        parameters=(
            _bytes("bytes", "how much can still be written in all", required=True),
            Parameter("errno", "errno", "ENOSPC", "what a write then fails with"),
        ),
        summary="accept so many bytes in all, then fail as a full disk does",
        family="file",
        effect=ERROR,
        points=("write",),
        replaces="part",
    ),
    ActionSpec(
        name="short",
        parameters=(_bytes("bytes", "how much (default half)"),),
        summary="read or write only a part, and say so",
        family="file",
        effect=HARMLESS,
        points=("read", "write"),
        replaces="part",
    ),
    ActionSpec(
        name="torn",
        parameters=(
            _bytes("bytes", "how much reaches the file (default half)"),
            Parameter("errno", "errno", None, "an error to end with, instead of SIGKILL"),
        ),
        summary="write a part, then end the process, or fail",
        family="file",
        effect=DEATH,
        points=("write",),
        replaces="part",
    ),
    ActionSpec(
        name="lie",
        summary="report the call as done without doing it, as a lying disk does",
        family="file",
        effect=DAMAGE,
        points=(
            *("write", "fsync", "flush", "truncate", "rename", "mkdir", "rm_file", "unlink", "link", "rmdir"),
        ),
        replaces="nothing",
    ),
    ActionSpec(
        name="flip",
        parameters=(
            _bytes("byte", "which byte (default the middle one)"),
            Parameter("bit", "integer", 0, "which bit of it", maximum=7),
        ),
        summary="flip one bit of the data",
        family="file",
        effect=DAMAGE,
        points=_DATA,
        replaces="data",
    ),
    ActionSpec(
        name="zero",
        parameters=(
            _bytes("bytes", "how many", default=512),
            _bytes("start", "from which byte on (default around the middle)"),
        ),
        summary="zero a block of the data",
        family="file",
        effect=DAMAGE,
        points=_DATA,
        replaces="data",
    ),
    ActionSpec(
        name="cut",
        parameters=(_bytes("bytes", "how much is left (default half)"),),
        summary="end the file there for who opens it; keep only so much of a write that is reported whole",
        family="file",
        effect=DAMAGE,
        points=("write", *_VIEWS),
        replaces="data",
    ),
    ActionSpec(
        name="stale",
        parameters=(
            Parameter(
                "path", "message", None, "the file that holds it; default what this rank saw there before"
            ),
        ),
        summary="give an old version of the file to who opens it",
        family="file",
        effect=HIDDEN,
        points=_VIEWS,
        replaces="version",
        in_native=(
            Obstacle(
                "old versions are remembered where Python opens the file; "
                'stale("path") names one for native code',
                lacking="path",
            ),
        ),
    ),
    ActionSpec(
        name="missing",
        summary="there is no such file: opening it fails, looking it up denies it, a listing leaves it out",
        family="file",
        effect=HIDDEN,
        points=(*_VIEWS, "exists", "stat", "listdir", "rename", "rm_file", "unlink"),
        replaces="absent",
    ),
    ActionSpec(
        name="shorten",
        parameters=(
            Parameter(
                "count", "integer", 1, "how many are missing of its items", minimum=1, maximum=BYTES_MAX
            ),
        ),
        summary="give what the call gives without its last items: of a list, a dict, a plan, metadata, a tensor ...",
        family="value",
        effect=HIDDEN,
        replaces="value",
    ),
    ActionSpec(
        name="returns",
        parameters=(
            Parameter(
                "value", "choice", None, "what it is", required=True, choices=("None", "False", "True")
            ),
        ),
        summary="give this instead of what the call gives",
        family="value",
        effect=HIDDEN,
        replaces="value",
    ),
    ActionSpec(
        name="earlier",
        summary="give what the call before on this rank gave",
        family="value",
        effect=HIDDEN,
        replaces="earlier value",
    ),
    ActionSpec(
        name="swap",
        parameters=(
            Parameter(
                "what", "choice", "items", "what of two parts", choices=("items", "names", "offsets", "sizes")
            ),
        ),
        summary="give what the call gives with two parts of it exchanged: valid, and wrong",
        family="value",
        effect=HIDDEN,
        replaces="value",
    ),
    ActionSpec(
        name="status",
        parameters=(
            Parameter(
                "code", "integer", None, "the status of the answer", required=True, minimum=400, maximum=599
            ),
            Parameter(
                "error", "message", None, "what S3 calls it (default by the status: SlowDown of 503 ...)"
            ),
        ),
        summary="answer a request with an error; after, though the server has done it",
        family="request",
        effect=HIDDEN,
        layers=("http",),
        **_NO_REQUESTS,
    ),
    ActionSpec(
        name="reset",
        summary="reset the connection instead of an answer; after, though the server has done it",
        family="request",
        effect=HIDDEN,
        layers=("http",),
        **_NO_REQUESTS,
    ),
    ActionSpec(
        name="sever",
        parameters=(_bytes("bytes", "how much of the body comes (default half)"),),
        summary="close the connection in the middle of the answer",
        family="request",
        effect=HIDDEN,
        layers=("http",),
        moments=("after",),
        **_NO_REQUESTS,
    ),
)

ACTIONS: dict[str, ActionSpec] = {spec.name: spec for spec in _CATALOGUE}
