"""Finds scenarios: by their text (`faultkit.scenario_text`), or from what a plan breaks.

`get` imports the module that it is asked for, and nothing else does.  Every mistake is one ScenarioError.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

from faultkit.exceptions import ScenarioError
from faultkit.messages import seen
from faultkit.plan import FaultPlan, points
from faultkit.scenario_text import SWEEP, find, is_named, options_of, values_of
from faultkit.scenarios.checkpoint import DCP_LOAD, DCP_SAVE
from faultkit.scenarios.scenario import Scenario, of_function

__all__ = ["BUILT_IN", "get", "is_named", "of_found", "options_of", "scenario_for_plan"]

BUILT_IN: dict[str, Scenario] = {name: resolve_name(home) for name, home in SWEEP.homes.items()}


def get(text: str) -> Scenario:
    """The scenario that `text` names.  Raises ScenarioError, which tells the nearest name there is."""
    name, found, options = find(text, SWEEP)
    scenario = of_found(name, found)
    return scenario.with_options(**values_of(options, dict(scenario.options)))


def scenario_for_plan(plan: FaultPlan) -> Scenario:
    """The built-in scenario for `plan`: ``dcp-load`` where it breaks a point of a load, else ``dcp-save``.

    Raises ScenarioError where some points need a save and others a load.
    """
    loads = [fault for fault in plan if fault.reads or points.find(fault.point).operations == ("load",)]
    saves = [fault for fault in plan if fault.layer == "writer"]
    if loads and saves:
        raise ScenarioError(
            f"no built-in scenario comes by both {loads[0].point} and {saves[0].point}: "
            "name one of your own with --scenario"
        )
    return DCP_LOAD if loads else DCP_SAVE


def of_found(name: str, found: Any) -> Scenario:
    """What `name` was found to be, as a scenario.  Raises ScenarioError for what is none, and no function."""
    if isinstance(found, Scenario):
        return found if found.name in (name, "") else _renamed(found, name)
    if not callable(found):
        raise ScenarioError(
            f"scenario {seen(name)} must be a function or a faultkit.scenarios.Scenario "
            f"(got a {type(found).__name__})"
        )
    return of_function(found, name)


def _renamed(scenario: Scenario, text: str) -> Scenario:
    import msgspec

    # under the name by which it can be found again
    return msgspec.structs.replace(scenario, name=text)
