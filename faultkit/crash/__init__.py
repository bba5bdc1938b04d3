"""Every tree of files that a crash could leave after a save, each loaded and judged.

    from faultkit import crash

    found = crash.explore(crash.get("dcp-overwrite"), world=2)      # records, enumerates, loads, judges
    print(found.text())                                             # counts, findings in words
    found.findings[0].verdict                                       # "MIX"
    found.findings[0].lost                                          # ("rename(.metadata.tmp -> .metadata)",)

A recording (`faultkit.files.record`) says what every rank and thread did to files, and in which order they
waited for each other.  A model says what of that a crash may undo:

* ``killed``   processes die, the machine lives on: every consistent cut of what the threads did;
* ``ordered``  the power goes; one journal keeps metadata in order (like ext4 data=ordered, xfs);
* ``weak``     the power goes; only fsync orders anything (POSIX to the letter).

Each state is loaded in a process of its own and every element compared: NEW, OLD, ABSENT, ERROR, MIX,
GARBAGE, HUNG, DIED.  A fresh directory allows NEW or ABSENT, an overwrite OLD or NEW, and after save has
returned on every rank only NEW is allowed.  Importing this package imports no torch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.crash.bounds import Bound
    from faultkit.crash.exploration import explore, record_save
    from faultkit.crash.found import Exploration, Finding, ModelCounts
    from faultkit.crash.judge import Judge
    from faultkit.crash.models import MODELS, rebuild, states
    from faultkit.crash.scenario import SCENARIOS, Scenario, ScenarioError, get
    from faultkit.crash.state import Judgement, State, Witness

__all__ = [
    "MODELS",
    "SCENARIOS",
    "Bound",
    "Exploration",
    "Finding",
    "Judge",
    "Judgement",
    "ModelCounts",
    "Scenario",
    "ScenarioError",
    "State",
    "Witness",
    "explore",
    "get",
    "rebuild",
    "record_save",
    "states",
]

_HOMES = {
    "MODELS": "models",
    "SCENARIOS": "scenario",
    "Bound": "bounds",
    "Exploration": "found",
    "Finding": "found",
    "Judge": "judge",
    "Judgement": "state",
    "ModelCounts": "found",
    "Scenario": "scenario",
    "ScenarioError": "scenario",
    "State": "state",
    "Witness": "state",
    "explore": "exploration",
    "get": "scenario",
    "rebuild": "models",
    "record_save": "exploration",
    "states": "models",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'faultkit.crash' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"faultkit.crash.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
