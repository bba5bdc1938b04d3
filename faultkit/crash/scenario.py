"""What is saved, loaded and compared: a value of functions, and the built-in ones by name.

Not covered: recording and judging.  Importing this imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from faultkit.exceptions import ImportMistake, ScenarioError
from faultkit.importing import imported
from faultkit.messages import listed, nearest, seen
from faultkit.plan.signatures import taken

__all__ = ["SCENARIOS", "Scenario", "get"]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A save whose crashes are explored.

    save: called on every rank with `directory`, a `pathlib.Path` that need not exist (its parent does); saves
        the NEW values.  This is what is recorded.
    load: called with (`directory`, `fill`) in a fresh process without a process group, and returns the values
        as nested dicts, lists and tuples of tensors, arrays, numbers and strings, or None where there is no
        checkpoint.  It fills what it loads into with `fill` first, as often as it has elements, so that what
        the load left out is seen.  A load that takes one argument is called with `directory` alone.
    prepare: like `save`, of the OLD values; None means a fresh directory.
    new, old: functions that return the values expected; None: what `load` gives of the finished save (of the
        prepared directory).  With `new`, a finished save that loads as something else is a finding; without, it
        cannot be known.
    absent: tells whether an exception of `load` is a clean "no checkpoint here"; None: the documented rule
        (`faultkit.crash.loading.missing_checkpoint`).
    refuse: says of the values of a finished save why nothing follows from them, None where something does.
    options: pairs of name and value that the functions get as keywords, each of them those that it takes; `chosen`
        are the names of those that were set by `with_options`, and are told in reports.
    load_ranks: with more than 1, `load` runs on that many ranks with a process group; then nothing is pruned.
    prunable: False where `load` reads in other processes, or otherwise than through files that this process opens.
    directory: name of the directory under the recorded root.
    preload: modules that ranks need.
    """

    name: str
    save: Callable[..., Any]
    load: Callable[..., Any]
    prepare: Callable[..., Any] | None = None
    new: Callable[..., Any] | None = None
    old: Callable[..., Any] | None = None
    absent: Callable[[BaseException], bool] | None = None
    refuse: Callable[[Any], str | None] | None = None
    summary: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    chosen: tuple[str, ...] = ()
    load_ranks: int = 1
    prunable: bool = True
    directory: str = "checkpoint"
    preload: tuple[str, ...] = ()

    def keywords_of(self, function: Callable[..., Any]) -> dict[str, Any]:
        """The options that `function` takes."""
        return taken(function, dict(self.options))

    def __str__(self) -> str:
        values = dict(self.options)
        return ",".join([self.name, *(f"{name}={values[name]}" for name in self.chosen)])

    @property
    def fresh(self) -> bool:
        """Whether the save goes to a directory without a checkpoint."""
        return self.prepare is None

    def allowed(self, phase: str) -> tuple[str, ...]:
        """The verdicts that the policy allows in a phase: "before", "during" or "returned"."""
        if phase == "returned":
            return ("NEW",)
        return ("NEW", "ABSENT") if self.fresh else ("OLD", "NEW")

    def with_options(self, **values: Any) -> Scenario:
        """The same with other options.  Raises ScenarioError for an unknown one, and one of another type."""
        known = dict(self.options)
        for name, value in values.items():
            if name not in known:
                raise ScenarioError(
                    f"scenario {self.name!r} has no option {seen(name)}; options are {listed(known)}"
                    f"{nearest(name, known)}"
                )
            kind = type(known[name])
            if kind in KINDS and type(value) is not kind and not (kind is float and type(value) is int):
                raise ScenarioError(
                    f"scenario {self.name!r}: {name} must be {KINDS[kind]}, as {seen(known[name])} is "
                    f"(got {seen(value)})"
                )
        chosen = tuple(dict.fromkeys((*self.chosen, *values)))
        return msgspec.structs.replace(self, options=tuple({**known, **values}.items()), chosen=chosen)


KINDS: dict[type, str] = {bool: "true or false", float: "a number", int: "a whole number", str: "text"}
OPTION_MAX = {"threads": 256, "elements": 1_000_000}  # of the built-in scenarios
# name -> (module of faultkit.crash, attribute)
SCENARIOS: dict[str, tuple[str, str]] = {
    "dcp-fresh": ("dcp", "FRESH"),
    "dcp-overwrite": ("dcp", "OVERWRITE"),
    "control-fresh": ("control", "FRESH"),
    "control-overwrite": ("control", "OVERWRITE"),
}


def get(text: str) -> Scenario:
    """The scenario of a name ("dcp-overwrite", "dcp-fresh,threads=2") or of "module:attribute".

    An option's value is JSON (2, 0.5, true) or else plain text.  Raises ScenarioError, naming the nearest that
    there is.
    """
    name, *settings = text.split(",")
    scenario = _named(name)
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ScenarioError(
                f"scenario {seen(text)}: an option is written name=value (got {seen(setting)})"
            )
        if key in values:
            raise ScenarioError(
                f"scenario {seen(text)}: option {seen(key)} stands twice; leave out one of them"
            )
        try:
            values[key] = json.loads(value)
        except (ValueError, RecursionError):
            values[key] = value
    chosen = scenario.with_options(**values)
    for key, value in dict(chosen.options).items() if name in SCENARIOS else ():
        if key in OPTION_MAX and not 1 <= value <= OPTION_MAX[key]:
            raise ScenarioError(
                f"scenario {seen(text)}: {key} must be a number from 1 to {OPTION_MAX[key]} (got {seen(value)})"
            )
    return chosen


def _named(name: str) -> Scenario:
    module_name, colon, attribute = name.partition(":")
    if name in SCENARIOS:
        module_name, attribute = SCENARIOS[name]
        module_name = f"faultkit.crash.{module_name}"
    elif not colon:
        raise ScenarioError(
            f"unknown crash scenario {seen(name)}; built-in are {listed(SCENARIOS)}, and module:attribute is one "
            f"of yours{nearest(name, SCENARIOS)}"
        )
    try:
        found = imported(f"{module_name}:{attribute}")
    except ImportMistake as error:
        raise ScenarioError(f"crash scenario {seen(name)} cannot be found: {error}") from error
    if not isinstance(found, Scenario):
        raise ScenarioError(
            f"crash scenario {seen(name)} must be a faultkit.crash.Scenario (got {seen(found)})"
        )
    return found
