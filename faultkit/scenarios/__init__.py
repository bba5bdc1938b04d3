"""What runs: real engines doing real saves and loads, as values that a sweep can break.

    scenarios.get("dcp-save")                    a built-in scenario
    scenarios.get("dcp-save,coordinator=1")      with an option
    scenarios.get("dcp.resume")                  what a checkpointer is put to
    scenarios.get("mymodel.checkpoint:save")     a `Scenario` or a plain function of your own

A scenario is a frozen value: a function that every rank calls with a directory, what is prepared there
before, and which points are worth breaking.  `Stage` gives each run a directory of its own and removes
them all in the end.  Importing this package imports no torch.
"""

from __future__ import annotations

from faultkit.exceptions import ScenarioError, WrongContent
from faultkit.scenarios.checkpoint import DCP_LOAD, DCP_OVERWRITE, DCP_SAVE
from faultkit.scenarios.lookup import BUILT_IN, get, options_of, scenario_for_plan, scenario_of
from faultkit.scenarios.scenario import Scenario, of_function
from faultkit.scenarios.stage import Stage

__all__ = [
    "BUILT_IN",
    "DCP_LOAD",
    "DCP_OVERWRITE",
    "DCP_SAVE",
    "Scenario",
    "ScenarioError",
    "Stage",
    "WrongContent",
    "get",
    "of_function",
    "options_of",
    "scenario_for_plan",
    "scenario_of",
]
