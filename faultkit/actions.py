"""What a fault does when it fires, as data: the catalogue of actions and the value `Action`.

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

An action is checked and made canonical when it is built, from text, from JSON or by hand, so that equal
actions are equal values and print the same.  Every builtin exception is accepted, also those that no single
message can build (UnicodeDecodeError, ExceptionGroup).  Text may name another exception type as
``module:Name`` only where an allow list holds it (`require_allowed`).  Left out: all that happens on a rank,
such as how an exception is built, and the reading of text.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from faultkit.parameters import (
    BYTES_MAX,
    MEGABYTES_MAX,
    SECONDS_MAX,
    Parameter,
    Value,
    misfit,
    print_value,
    read_value,
    require_errno_fits,
)
from faultkit.points import Point
from faultkit.wording import PlanError, listed, nearest, seen

__all__ = [
    "ACTIONS",
    "OWN_EXCEPTIONS",
    "Action",
    "ActionSpec",
    "Argument",
    "Parameter",
    "actions_at",
    "from_arguments",
    "require_actionable",
    "require_allowed",
]

OWN_EXCEPTIONS = "faultkit.hostile:"  # naming one of these runs no code but faultkit's own

# Signals that leave a Python process alive: ignored by default, job control, or taken over by Python itself.
_SURVIVED_SIGNALS = frozenset(
    "SIGCHLD SIGCONT SIGINFO SIGINT SIGPIPE SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGWINCH SIGXFSZ".split()
)


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


class Action(msgspec.Struct, frozen=True):
    """What happens at a point: a name of `ACTIONS` and its parameters, canonical.

    `parameters` may be given as a mapping or as pairs and is kept as pairs in the catalogue's order, without
    those that equal their default (save ``exit`` and ``kill``, which always tell theirs).  Raises PlanError
    for an unknown name, parameter or value, TypeError for a value of a wrong type.
    """

    name: str
    parameters: tuple[tuple[str, Value], ...] = ()

    def __post_init__(self) -> None:
        spec = _spec(self.name)
        given = _given(spec, self.parameters)
        kept: dict[str, Value] = {}
        for parameter in spec.parameters:
            value = given.get(parameter.name)
            value = parameter.default if value is None else value
            if value is None:
                if parameter.required:
                    raise PlanError(f"action {spec.name!r} needs {parameter.name}; it is {spec.usage}")
                continue
            value = read_value(parameter, value)
            if parameter.shown or value != parameter.default:
                kept[parameter.name] = value
        require_errno_fits(kept.get("exception"), kept.get("errno"))
        kept = _in_place(spec, kept)
        msgspec.structs.force_setattr(self, "parameters", tuple(kept.items()))

    def __getitem__(self, name: str) -> Value:
        """The value of a parameter, or its default.  Raises KeyError where there is neither."""
        for known, value in self.parameters:
            if known == name:
                return value
        for parameter in self.spec.parameters:
            if parameter.name == name and parameter.default is not None:
                return parameter.default
        raise KeyError(name)

    def get(self, name: str, default: Value | None = None) -> Value | None:
        """The value of a parameter, its default in the catalogue, or else `default`."""
        try:
            return self[name]
        except KeyError:
            return default

    def __str__(self) -> str:
        by_name = {parameter.name: parameter for parameter in self.spec.parameters}
        words = [print_value(by_name[name], value) for name, value in self.parameters]
        return f"{self.name}({', '.join(words)})" if words else self.name

    def __repr__(self) -> str:
        parameters = f", {dict(self.parameters)!r}" if self.parameters else ""
        return f"Action({self.name!r}{parameters})"

    @property
    def spec(self) -> ActionSpec:
        """The entry of the catalogue."""
        return ACTIONS[self.name]

    @property
    def family(self) -> str:
        """``error``, ``time``, ``stop``, ``death`` or ``file``, see `ActionSpec`; of ``kill``, whatever the signal."""
        return self.spec.family

    @property
    def raises(self) -> bool:
        """Whether the call fails by the exception that the action names."""
        return self.name == "raise"

    @property
    def error(self) -> Action | None:
        """The raise action that says which error the call fails with by itself; None where it need not fail."""
        if self.name == "raise":
            return self
        number = self.get("errno") if self.name in ("full", "torn") else None
        return Action("raise", (("exception", "OSError"), ("errno", number))) if number is not None else None

    @property
    def takes_place(self) -> bool:
        """Whether it takes the place of a file operation, or changes it, and so is no moment before or after it."""
        return bool(self.spec.points)

    @property
    def kills(self) -> bool:
        """Whether the process ends at the point: exit, segfault, torn, and kill by a signal that ends a process."""
        if self.name == "kill":
            return self["signal"] not in _SURVIVED_SIGNALS
        return self.name in ("exit", "segfault") or (self.name == "torn" and self.error is None)


class Argument(msgspec.Struct, frozen=True):
    """One argument as written: `shape` is ``word``, ``string`` or ``number``, `text` what stood there."""

    shape: str
    value: Value
    text: str


def from_arguments(name: str, arguments: Sequence[Argument]) -> Action:
    """The action that ``name(argument, ...)`` writes.

    Each argument goes to the first parameter, after that of the argument before it, that takes its shape.
    Raises PlanError, whose `part` is the number of the argument at fault where it is one.
    """
    spec = _spec(name)
    values: dict[str, Value] = {}
    waiting = list(spec.parameters)
    for part, argument in enumerate(arguments):
        try:
            parameter = _taker(waiting, argument, spec)
            values[parameter.name] = read_value(parameter, argument.value)
            require_errno_fits(values.get("exception"), values.get("errno"))
        except (PlanError, TypeError) as error:
            usage = "" if "did you mean" in str(error) else f"; it is {spec.usage}"
            raise PlanError(f"{error}{usage}", part) from None
    return Action(name, tuple(values.items()))


def require_allowed(action: Action, allow: Iterable[str]) -> None:
    """Raises PlanError where the exception type is a ``module:Name`` that `allow` does not hold.

    Those of `faultkit.hostile` need no allowance; one that it does not have is an error here.
    """
    name = action.get("exception")
    names = list(allow)
    if not isinstance(name, str) or ":" not in name or name in names:
        return
    if name.startswith(OWN_EXCEPTIONS):
        from faultkit import hostile  # rarely named, and it need not be loaded to read other plans

        known = [OWN_EXCEPTIONS + known for known in hostile.NAMES]
        if name in known:
            return
        rule = f"faultkit.hostile has {listed(hostile.NAMES)}"
        raise PlanError(f"unknown exception type {seen(name)}; {rule}{nearest(name, known)}", part=0)
    rule = f"allowed are {listed(names)}" if names else "nothing is allowed here"
    hint = nearest(name, names)
    raise PlanError(f"exception type {seen(name)} must be in the allow list ({rule}){hint}", part=0)


def _require_file(point: Point, action: Action, moment: str) -> None:
    names = action.spec.points
    if point.layer != "fs" or point.name not in names:
        at = listed(f"fs.{name}" for name in names)
        special = [name for name in actions_at(point) if ACTIONS[name].points] if point.layer == "fs" else []
        here = f"; actions of '{point}' are raise, delay, kill, {listed(special)} ..." if special else ""
        hint = (
            nearest(f"fs.{point.name}", (f"fs.{name}" for name in names))
            or f"; did you mean 'fs.{names[0]}'?"
        )
        raise PlanError(f"action {action.name!r} cannot happen at '{point}'; it can at {at}{here}{hint}")
    if moment != "before":
        raise PlanError(
            f"action {action.name!r} takes the place of the call, so its only moment is 'before' (got {moment!r})"
        )


def _spec(name: object) -> ActionSpec:
    if not isinstance(name, str):
        raise TypeError(f"the name of an action must be text (got {seen(name)})")
    spec = ACTIONS.get(name)
    if spec is None:
        raise PlanError(f"unknown action {seen(name)}; actions are {listed(ACTIONS)}{nearest(name, ACTIONS)}")
    missing = [s for s in spec.needs if not hasattr(signals, s)]
    if missing:
        raise PlanError(f"action {name!r} needs {listed(missing)}, which this platform does not have")
    return spec


def _given(spec: ActionSpec, parameters: object) -> dict[str, object]:
    """What was given as parameters, by name; unknown names and names given twice are errors."""
    try:
        pairs = list(parameters.items() if isinstance(parameters, Mapping) else parameters)  # type: ignore[call-overload]
        given = dict(pairs)
    except (TypeError, ValueError):
        message = f"parameters of action {spec.name!r} must be pairs or a mapping (got {seen(parameters)})"
        raise TypeError(message) from None
    names = [parameter.name for parameter in spec.parameters]
    for name in given:
        if name not in names:
            rule = (
                f"parameters of {spec.name!r} are {listed(names)}" if names else f"{spec.name!r} takes none"
            )
            raise PlanError(f"unknown parameter {seen(name)}; {rule}{nearest(name, names)}")
    if len(given) != len(pairs):
        raise PlanError(f"parameters of action {spec.name!r} must be given once each")
    return given


def _in_place(spec: ActionSpec, kept: dict[str, Value]) -> dict[str, Value]:
    """The same, with the default of a number that stands before another one, which would else be taken for it."""
    numbers = [parameter for parameter in spec.parameters if parameter.type in ("integer", "number")]
    last = max((place for place, parameter in enumerate(numbers) if parameter.name in kept), default=0)
    for parameter in numbers[:last]:
        if parameter.name not in kept:
            if parameter.default is None:
                raise PlanError(
                    f"{numbers[last].name} of {spec.name!r} needs {parameter.name}; it is {spec.usage}"
                )
            kept[parameter.name] = parameter.default
    return {parameter.name: kept[parameter.name] for parameter in spec.parameters if parameter.name in kept}


def _taker(waiting: list[Parameter], argument: Argument, spec: ActionSpec) -> Parameter:
    """Takes from `waiting` the parameter that the argument is for, and those that it passes over."""
    while waiting:
        parameter = waiting.pop(0)
        if _takes(parameter, argument, later_words=[c for p in waiting for c in p.choices]):
            return parameter
        if parameter.required or not waiting:
            raise PlanError(misfit(parameter, f"the {argument.shape} {seen(argument.text)}"))
    raise PlanError(f"too many arguments of {spec.name!r} (got {seen(argument.text)})")


def _takes(parameter: Parameter, argument: Argument, later_words: Sequence[str]) -> bool:
    match parameter.type:
        case "errno":
            if argument.shape == "word":  # may be a choice to come, or one that is misspelt
                return argument.text.startswith("E") or not nearest(argument.value, later_words)
            return argument.shape == "number"
        case "message":
            return argument.shape == "string"
        case "signal":
            return argument.shape != "string"
        case "integer" | "number":
            return argument.shape == "number"
    return argument.shape == "word"


def actions_at(point: Point) -> tuple[str, ...]:
    """The names of the actions that can happen at `point`."""
    if point.layer == "clock":
        return ("exit", "hang", "kill", "segfault", "stop")
    on_files = point.layer == "fs"
    return tuple(
        name for name, spec in ACTIONS.items() if not spec.points or (on_files and point.name in spec.points)
    )


def require_actionable(point: Point, action: Action, calls: str, moment: str = "before") -> None:
    """Raises PlanError where `action` makes no sense at `point`, for the calls in their canonical text.

    At a point in time no call of the rank is under way that could raise or wait, so only what happens to the
    whole process can happen there, and only at one time.  What happens to a file can happen where files are.
    """
    if action.takes_place:
        _require_file(point, action, moment)
    if point.layer != "clock":
        return
    whole = action.family in ("death", "stop") and (action.name != "hang" or action["how"] == "native")
    if not whole:
        raise PlanError(
            f"action {str(action)!r} needs a call to happen in, and '{point}' is a time; actions of '{point}' are "
            "exit, hang(native), kill, segfault, stop"
        )
    if not calls.isdigit():
        raise PlanError(
            f"'{point}' needs one time in milliseconds, such as '{point}#250' (got the calls {calls!r})"
        )
