"""Finds scenarios: by built-in name, as ``module:attribute``, or from what a plan breaks.

    text := name ("," option "=" value)*          a value is JSON (1, 0.5, true) or else plain text

`get` imports the module that it is asked for, and nothing else does.  Every mistake is one ScenarioError.
"""

from __future__ import annotations

import json
from typing import Any

from faultkit.exceptions import ImportMistake, ScenarioError
from faultkit.importing import imported
from faultkit.messages import listed, nearest, seen
from faultkit.plan import FaultPlan
from faultkit.scenarios.checkpoint import DCP_LOAD, DCP_OVERWRITE, DCP_SAVE
from faultkit.scenarios.scenario import Scenario, of_function

__all__ = ["BUILT_IN", "get", "is_named", "options_of", "scenario_for_plan"]

BUILT_IN: dict[str, Scenario] = {scenario.name: scenario for scenario in (DCP_SAVE, DCP_LOAD, DCP_OVERWRITE)}

# Points that only a load comes by; all others that are not the reader's, a save comes by.
LOAD_POINTS = frozenset(
    {
        "app.load_state_dict",
        "fs.read",
        "fs.seek",
        "planner.commit_tensor",
        "planner.load_bytes",
        "planner.resolve_bytes",
        "planner.resolve_tensor",
        "storage.read_data",
        "storage.read_metadata",
        "storage.set_up_storage_reader",
    }
)


def get(text: str) -> Scenario:
    """The scenario that `text` names.  Raises ScenarioError, which tells the nearest name there is."""
    name, options = options_of(text)
    if is_named(text):
        scenario = _imported(name)
    elif name in BUILT_IN:
        scenario = BUILT_IN[name]
    else:
        raise ScenarioError(
            f"unknown scenario {seen(name)}; scenarios are {listed(BUILT_IN)}, or module:attribute"
            f"{nearest(name, BUILT_IN)}"
        )
    return scenario.with_options(**options)


def is_named(text: str) -> bool:
    """Whether `text` means something of a user's own, ``module:attribute``, rather than a built-in scenario."""
    return ":" in text.partition(",")[0]


def options_of(text: str) -> tuple[str, dict[str, Any]]:
    """The name that `text` begins with, and the options behind it.  Raises ScenarioError; imports nothing."""
    name, *assignments = text.split(",")
    options: dict[str, Any] = {}
    for assignment in assignments:
        option, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals or not option:
            raise ScenarioError(f"an option of a scenario is written name=value (got {seen(assignment)})")
        if option in options:
            raise ScenarioError(f"option {seen(option)} stands twice in {seen(text)}; leave out one of them")
        options[option] = _value(value)
    return name.strip(), options


def scenario_for_plan(plan: FaultPlan) -> Scenario:
    """The built-in scenario for `plan`: ``dcp-load`` where it breaks a point of a load, else ``dcp-save``.

    Raises ScenarioError where some points need a save and others a load.
    """
    loads = [fault for fault in plan if fault.layer == "reader" or fault.point in LOAD_POINTS or fault.reads]
    saves = [fault for fault in plan if fault.layer == "writer"]
    if loads and saves:
        raise ScenarioError(
            f"no built-in scenario comes by both {loads[0].point} and {saves[0].point}: "
            "name one of your own with --scenario"
        )
    return DCP_LOAD if loads else DCP_SAVE


def _imported(text: str) -> Scenario:
    try:
        found: Any = imported(text)
    except ImportMistake as error:
        raise ScenarioError(str(error)) from None
    if isinstance(found, Scenario):
        return found if found.name in (text, "") else _renamed(found, text)
    if not callable(found):
        raise ScenarioError(
            f"scenario {seen(text)} must be a function or a faultkit.scenarios.Scenario "
            f"(got a {type(found).__name__})"
        )
    return of_function(found, text)


def _renamed(scenario: Scenario, text: str) -> Scenario:
    import msgspec

    # under the name by which it can be found again
    return msgspec.structs.replace(scenario, name=text)


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str | int | float | bool) else text
