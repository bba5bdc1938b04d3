"""Every tree of files that a crash could leave after a save, each loaded and judged.

    from faultkit import crash

    found = crash.explore(crash.get("dcp-overwrite"), world=2)      # records, enumerates, loads, judges
    print(found.text())                                             # counts, findings in words
    found.findings[0].verdict                                       # "MIX"
    found.findings[0].lost                                          # ("rename(.metadata.tmp -> .metadata)",)

A recording (`faultkit.recording.record`) says what every rank and thread did to files, and in which order they
waited for each other.  A model says what of that a crash may undo:

* ``killed``   processes die, the machine lives on: every consistent cut of what the threads did;
* ``ordered``  the power goes; one journal keeps metadata in order (like ext4 data=ordered, xfs);
* ``weak``     the power goes; only fsync orders anything (POSIX to the letter).

Each state is loaded in a process of its own and every element compared: NEW, OLD, ABSENT, ERROR, MIX,
GARBAGE, HUNG, DIED.  A fresh directory allows NEW or ABSENT, an overwrite OLD or NEW, and after save has
returned on every rank only NEW is allowed.  Importing this package imports no torch.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.crash.enumeration.bounds import Bound
    from faultkit.crash.enumeration.crash_model import MODELS
    from faultkit.crash.enumeration.models import rebuild, states
    from faultkit.crash.enumeration.state import Judgement, State, Witness
    from faultkit.crash.exploration import explore, record_save
    from faultkit.crash.loading.judge import Judge
    from faultkit.crash.results import Exploration, Finding, ModelCounts
    from faultkit.crash.scenario import SCENARIOS, Scenario, get
    from faultkit.exceptions import ScenarioError

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

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "Bound": "faultkit.crash.enumeration.bounds",
        "Exploration": "faultkit.crash.results",
        "Finding": "faultkit.crash.results",
        "Judge": "faultkit.crash.loading.judge",
        "Judgement": "faultkit.crash.enumeration.state",
        "MODELS": "faultkit.crash.enumeration.crash_model",
        "ModelCounts": "faultkit.crash.results",
        "SCENARIOS": "faultkit.crash.scenario",
        "Scenario": "faultkit.crash.scenario",
        "ScenarioError": "faultkit.exceptions",
        "State": "faultkit.crash.enumeration.state",
        "Witness": "faultkit.crash.enumeration.state",
        "explore": "faultkit.crash.exploration",
        "get": "faultkit.crash.scenario",
        "rebuild": "faultkit.crash.enumeration.models",
        "record_save": "faultkit.crash.exploration",
        "states": "faultkit.crash.enumeration.models",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
