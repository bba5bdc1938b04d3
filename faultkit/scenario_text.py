"""What the text of a scenario means, for every campaign: which names are built in, and how options are written.

    text := name ("," option "=" value)*          a value is JSON (1, 0.5, true) or else plain text

Guarantees: one parser, one look-up, one table of names; every mistake is one ScenarioError, of one line.  Only `find`
imports, and only what it is asked for.  Not covered: what a scenario is (`faultkit.scenarios.Scenario`), and those of
a checkpointer (`faultkit.scenarios.lookup`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from faultkit.exceptions import ImportMistake, ScenarioError
from faultkit.importing import imported
from faultkit.messages import listed, nearest, seen

__all__ = [
    "CRASH",
    "DAMAGE",
    "SWEEP",
    "Names",
    "chosen_from",
    "find",
    "is_named",
    "options_of",
    "parts_of",
    "text_of",
    "values_of",
]

KINDS = {bool: "true or false", float: "a number", int: "a whole number", str: "text"}


class Names(NamedTuple):
    """The built-in scenarios of one campaign: where each is defined, other names for the same work, and what is done
    with a checkpointer of which nobody says what: the first of `work` that it can do."""

    what: str
    homes: Mapping[str, str]
    aliases: Mapping[str, str] = {}
    work: tuple[str, ...] = ("save",)
    means_stored: bool = False  # whatever is named of a checkpointer, what its save stores is meant

    def has(self, text: str) -> bool:
        """Whether `text` names one of faultkit's own."""
        name = text.partition(",")[0]
        return name in self.homes or name in self.aliases

    def without_alias(self, text: str) -> str:
        """`text` with the name under which its scenario is defined."""
        name, comma, options = text.partition(",")
        return f"{self.aliases.get(name, name)}{comma}{options}"


SWEEP = Names(
    "scenario",
    {
        "dcp-save": "faultkit.scenarios.checkpoint:DCP_SAVE",
        "dcp-load": "faultkit.scenarios.checkpoint:DCP_LOAD",
        "dcp-overwrite": "faultkit.scenarios.checkpoint:DCP_OVERWRITE",
    },
)
CRASH = Names(
    "crash scenario",
    {
        "dcp-fresh": "faultkit.crash.dcp:FRESH",
        "dcp-overwrite": "faultkit.crash.dcp:OVERWRITE",
        "control-fresh": "faultkit.crash.control:FRESH",
        "control-overwrite": "faultkit.crash.control:OVERWRITE",
    },
    {"dcp-save": "dcp-fresh"},
    ("overwrite", "resume"),
)
# the checkpoint that is damaged is the same
DAMAGE = Names(
    CRASH.what,
    CRASH.homes,
    {"dcp-save": "dcp-overwrite", "dcp-load": "dcp-overwrite"},
    ("overwrite", "save"),
    True,
)


def find(text: str, names: Names) -> tuple[str, Any, dict[str, str]]:
    """The name in `text`, what it names, and the options behind it as they are written.  Raises ScenarioError."""
    name, options = parts_of(text)
    name = names.aliases.get(name, name)
    if name not in names.homes and not is_named(text):
        raise ScenarioError(
            f"unknown {names.what} {seen(name)}; {names.what}s are {listed(names.homes)}, or module:attribute"
            f"{nearest(name, names.homes)}"
        )
    try:
        return name, imported(names.homes.get(name, name)), options
    except ImportMistake as error:
        raise ScenarioError(str(error)) from None


def is_named(text: str) -> bool:
    """Whether `text` means something of a user's own, ``module:attribute``, rather than a built-in scenario."""
    return ":" in text.partition(",")[0]


def options_of(text: str) -> tuple[str, dict[str, Any]]:
    """The name that `text` begins with, and the options behind it.  Raises ScenarioError; imports nothing."""
    name, options = parts_of(text)
    return name, {option: _value(written, "") for option, written in options.items()}


def values_of(options: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What `options`, as `find` gives them, are set to."""
    return {option: _value(written, defaults.get(option, "")) for option, written in options.items()}


def chosen_from(scenario: str, defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, each of the type of its default.  Raises ScenarioError for an unknown one, and for another type."""
    chosen = {}
    for name, value in values.items():
        if name not in defaults:
            rule = f"options are {listed(defaults)}" if defaults else "it has none"
            raise ScenarioError(
                f"scenario {scenario!r} has no option {seen(name)}; {rule}{nearest(name, defaults)}"
            )
        expected = type(defaults[name])
        if expected is float and type(value) is int:
            value = float(value)
        if expected in KINDS and type(value) is not expected:
            raise ScenarioError(
                f"scenario {scenario!r}: {name} must be {KINDS[expected]}, as {seen(defaults[name])} is "
                f"(got {seen(value)})"
            )
        chosen[name] = value
    return chosen


def text_of(name: str, options: Mapping[str, Any]) -> str:
    """The text that means the scenario of that name with these options."""
    return ",".join([name, *(f"{option}={_written(value)}" for option, value in options.items())])


def parts_of(text: str) -> tuple[str, dict[str, str]]:
    """The name in `text`, and the options behind it as they are written.  Raises ScenarioError; imports nothing."""
    name, *assignments = text.split(",")
    options: dict[str, str] = {}
    for assignment in assignments:
        option, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals or not option:
            raise ScenarioError(f"an option of a scenario is written name=value (got {seen(assignment)})")
        if option in options:
            raise ScenarioError(f"option {seen(option)} stands twice in {seen(text)}; leave out one of them")
        options[option] = value
    return name.strip(), options


def _value(text: str, default: Any) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if type(value) in KINDS or type(default) not in KINDS else text


def _written(value: Any) -> str:
    return json.dumps(value) if type(value) in KINDS and not isinstance(value, str) else str(value)
