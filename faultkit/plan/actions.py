"""What a fault does when it fires, as a value: `Action`, one of `faultkit.plan.action_catalogue` with its arguments.

An action is checked and made canonical when it is built, from text, from JSON or by hand, so that equal
actions are equal values and print the same.  Every builtin exception is accepted, also those that no single
message can build (UnicodeDecodeError, ExceptionGroup).  Text may name another exception type as
``module:Name`` only where an allow list holds it (`require_allowed`).  Not covered: all that happens on a rank,
such as how an exception is built, and the reading of text.
"""

from __future__ import annotations

import errno
import signal as signals
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from faultkit.exceptions import PlanError
from faultkit.messages import listed, nearest, seen
from faultkit.plan.action_catalogue import ACTIONS
from faultkit.plan.action_spec import (
    DEATH,
    ERROR,
    FREEZE,
    STOPPING_SIGNALS,
    TIME,
    ActionSpec,
    Obstacle,
)
from faultkit.plan.parameters import Parameter, Value, misfit, print_value, read_value, require_errno_fits

__all__ = [
    "OWN_EXCEPTIONS",
    "Action",
    "Argument",
    "from_arguments",
    "require_allowed",
]

OWN_EXCEPTIONS = "faultkit.hostile:"  # naming one of these runs no code but faultkit's own

# Signals that leave a Python process alive: ignored by default, job control, or taken over by Python itself.
_SURVIVED_SIGNALS = frozenset(
    "SIGCHLD SIGCONT SIGINFO SIGINT SIGPIPE SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGWINCH SIGXFSZ".split()
)
_EFFECT_OF_SIGNAL = {
    "SIGINT": ERROR,  # the interpreter makes it a KeyboardInterrupt
    **dict.fromkeys(STOPPING_SIGNALS, FREEZE),
}


_NUMBER_OF = {  # of exceptions that have one by their type
    "BlockingIOError": errno.EAGAIN,
    "BrokenPipeError": errno.EPIPE,
    "ChildProcessError": errno.ECHILD,
    "FileExistsError": errno.EEXIST,
    "FileNotFoundError": errno.ENOENT,
    "InterruptedError": errno.EINTR,
    "IsADirectoryError": errno.EISDIR,
    "NotADirectoryError": errno.ENOTDIR,
    "PermissionError": errno.EACCES,
    "TimeoutError": errno.ETIMEDOUT,
}


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
        """``error``, ``time``, ``stop``, ``death``, ``file`` or ``value``; of ``kill``, whatever the signal."""
        return self.spec.family

    @property
    def effect(self) -> str:
        """What it does to the rank, see `ActionSpec`; of ``kill`` by its signal."""
        effect = self.spec.effect
        if effect == DEATH and self.error is not None:
            return ERROR
        if effect == FREEZE and self.duration_seconds is not None:
            return TIME
        return _EFFECT_OF_SIGNAL.get(str(self.get("signal")), effect)

    @property
    def duration_seconds(self) -> float | None:
        """How long it takes, of what ends by itself; None for everything else."""
        for name in ("seconds", "resume_seconds"):
            value = self.get(name)
            if isinstance(value, int | float):
                return float(value)
        return None

    @property
    def holds(self) -> str:
        """What it keeps from going on: the ``thread`` of the call, the ``interpreter`` lock, the ``process``, or "".

        Of the signals that stop a process SIGSTOP alone cannot be ignored.
        """
        if self.get("how") == "native":
            return "interpreter"
        return "process" if self.get("signal") == "SIGSTOP" else self.spec.holds

    @property
    def raises(self) -> bool:
        """Whether the call fails by the exception that the action names."""
        return self.get("exception") is not None

    @property
    def error(self) -> Action | None:
        """The raise action that says which error the call fails with by itself; None where it need not fail."""
        if self.raises:
            return self
        number = self.get("errno")
        return Action("raise", (("exception", "OSError"), ("errno", number))) if number is not None else None

    @property
    def is_repeated(self) -> bool:
        """Whether who made the call makes it again by itself: after EINTR, as POSIX asks."""
        return self.error is not None and self.error.get("errno") == "EINTR"

    @property
    def error_number(self) -> int | None:
        """The number of `error`, by its ``errno`` or its type; None where it has none."""
        error = self.error
        word = error.get("errno") if error is not None else None
        if isinstance(word, str):
            return getattr(errno, word, None)
        return _NUMBER_OF.get(str(error["exception"])) if error is not None and word is None else word  # type: ignore[return-value]

    @property
    def replaces_call(self) -> bool:
        """Whether it takes the place of a call, or changes what it does or gives: no moment before or after it."""
        return bool(self.spec.replaces)

    @property
    def alters_value(self) -> bool:
        """Whether it changes what a call gives, at points that are no files."""
        return self.replaces_call and not self.spec.points

    @property
    def kills(self) -> bool:
        """Whether the process ends at the point: exit, segfault, torn, and kill by a signal that ends a process."""
        return self.effect == DEATH and self.get("signal") not in _SURVIVED_SIGNALS

    @property
    def on_simulated(self) -> Obstacle | None:
        """Why simulated ranks cannot be given it; None where they can."""
        return self._obstacle(self.spec.on_simulated)

    @property
    def in_native(self) -> Obstacle | None:
        """Why native code cannot be given it; None where it can."""
        return self._obstacle(self.spec.in_native)

    @property
    def in_child(self) -> Obstacle | None:
        """Why a child process of a rank cannot be given it; None where it can."""
        return self._obstacle(self.spec.in_child)

    def _obstacle(self, known: tuple[Obstacle, ...]) -> Obstacle | None:
        for one in known:
            is_wrong_signal = one.signals and self.get("signal") not in one.signals
            if is_wrong_signal or (one.given and self.get(one.given) is None):
                continue
            if one.word and self.get(one.given) != one.word:
                continue
            if one.lacking and self.get(one.lacking) is not None:
                continue
            nearest = one.nearest.format(seconds=self.duration_seconds)
            return msgspec.structs.replace(one, nearest=nearest)
        return None


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
