"""Finds scenarios: by their text (`faultkit.scenario_text`), of whatever has one, or from what a plan breaks.

A scenario is named by its own name (``dcp-save``), by that of a checkpointer and a word (``dcp.resume``), or as
``module:attribute``, with a word behind it where that is a checkpointer (``mymodel.checkpoint:MINE.resume``).  A
checkpointer without a word means the work that the campaign says (`faultkit.scenario_text.Names.work`).

`get` imports the module that it is asked for, and nothing else does.  Every mistake is one ScenarioError.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

from faultkit.checkpointers.catalogue import BUILT_IN as CHECKPOINTERS
from faultkit.checkpointers.checkpointer import WORK, Checkpointer
from faultkit.checkpointers.requirements import require
from faultkit.checkpointers.trainer import Trainer
from faultkit.checkpointers.trainers import BUILT_IN as TRAINERS
from faultkit.exceptions import ImportMistake, ScenarioError
from faultkit.importing import imported
from faultkit.messages import listed, nearest, seen, shown
from faultkit.plan import FaultPlan, points
from faultkit.scenario_text import SWEEP, Names, find, is_named, options_of, parts_of, values_of
from faultkit.scenarios.checkpoint import DCP_LOAD, DCP_SAVE
from faultkit.scenarios.derived import derive
from faultkit.scenarios.scenario import Scenario, of_function

__all__ = [
    "BUILT_IN",
    "checkpointer_of",
    "get",
    "is_named",
    "of_found",
    "options_of",
    "scenario_for_plan",
    "scenario_of",
]

BUILT_IN: dict[str, Scenario] = {name: resolve_name(home) for name, home in SWEEP.homes.items()}
HOMES = {**CHECKPOINTERS.homes, **TRAINERS.homes}


def get(text: str, names: Names = SWEEP) -> Scenario:
    """The scenario that `text` names.  Raises ScenarioError, which tells the nearest name there is."""
    name, written = parts_of(text)
    found, word = _checkpointer_in(name, names)
    if found is not None:
        chosen = found.with_options(**values_of(written, dict(found.options)))
        if word or name.endswith("."):
            chosen.require_work(word)
        if word and not names.means_stored:
            return derive(chosen, word, name=name)
        work = _work_of(chosen, names)
        is_own = ":" in name and not word and not names.means_stored
        return derive(
            chosen, work, name=f"{name}.{work}" if is_own else ""
        )  # a name by which it is found again
    name, found, written = find(text, names)
    scenario = of_found(name, found, names)
    return scenario.with_options(**values_of(written, dict(scenario.options)))


def scenario_of(work: Any, names: Names = SWEEP) -> Scenario:
    """The scenario that `work` is: a text, a scenario, a checkpointer, or a function.  Raises ScenarioError."""
    return get(work, names) if isinstance(work, str) else of_found("", work, names)


def checkpointer_of(work: Any) -> tuple[Checkpointer | None, str]:
    """The checkpointer that `work` is or names, with its options, and the word behind its name; "" for none.

    (None, "") for all else.  Raises ScenarioError as `get` does, and where the checkpointer cannot run here.
    """
    work = _as_checkpointer(work)
    if isinstance(work, Checkpointer):
        found, word = work, ""
    elif isinstance(work, str):
        name, written = parts_of(work)
        named, word = _checkpointer_in(name, SWEEP)
        if named is None:
            return None, ""
        found = named.with_options(**values_of(written, dict(named.options)))
    else:
        return None, ""
    require(found)
    return found, word


def _checkpointer_in(name: str, names: Names) -> tuple[Checkpointer | None, str]:
    """The checkpointer that `name` is of, and the word behind it; "" for none.  None where it is of something else."""
    head, _, word = name.rpartition(".")
    try:
        if ":" in head:  # else that of a module
            found = _as_checkpointer(imported(head))
            return (found, word) if isinstance(found, Checkpointer) else (None, "")
        if ":" in name:
            found = _as_checkpointer(imported(name))
            return (found, "") if isinstance(found, Checkpointer) else (None, "")
        if name in names.homes or name in names.aliases:
            return None, ""
        for built_in, tail in ((name, ""), (head, word)):
            if built_in in HOMES:
                return _as_checkpointer(imported(HOMES[built_in])), tail
    except ImportMistake as error:
        raise ScenarioError(str(error)) from None
    if word in WORK and head:
        raise ScenarioError(
            f"unknown checkpointer {seen(head)}; checkpointers are {listed(CHECKPOINTERS.homes)}, or module:attribute"
            f"{nearest(head, CHECKPOINTERS.homes)}"
        )
    return None, ""


def _as_checkpointer(found: Any) -> Any:
    """A trainer as a checkpointer; all else as it is."""
    return found.to_checkpointer() if isinstance(found, Trainer) else found


def _work_of(checkpointer: Checkpointer, names: Names) -> str:
    """The work that the campaign means; the last that it would, where it has none, which is refused then."""
    return next((word for word in names.work if word in checkpointer.work), names.work[-1])


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


def of_found(name: str, found: Any, names: Names = SWEEP) -> Scenario:
    """What `name` was found to be, as a scenario.  Raises ScenarioError for what is none, and no function."""
    if isinstance(found, Scenario):
        return found if found.name == name or not name else _renamed(found, name)
    found = _as_checkpointer(found)
    if isinstance(found, Checkpointer):
        return derive(found, _work_of(found, names))
    if not callable(found):
        raise ScenarioError(
            f"scenario {seen(name) if name else shown(found)} must be a function, a faultkit.scenarios.Scenario or a "
            f"faultkit.Checkpointer (got a {type(found).__name__})"
        )
    return of_function(found, name or None)


def _renamed(scenario: Scenario, text: str) -> Scenario:
    import msgspec

    # under the name by which it can be found again
    return msgspec.structs.replace(scenario, name=text)
