"""Each action of the catalogue is in the tables by name of what performs it, those of native code included."""

from __future__ import annotations

import re

from faultkit.injection.files.data import ALTERING, WRITING
from faultkit.injection.files.native import NUMBERED_ACTIONS
from faultkit.plan.action_catalogue import ACTIONS
from faultkit.plan.action_spec import Obstacle
from tests.helpers.places import ROOT

FOLDER = ROOT / "faultkit" / "interception"
OF_DATA = {name for name, spec in ACTIONS.items() if spec.replaces in ("part", "nothing", "data", "version")}


def test_what_changes_data_has_an_entry_that_does_it():
    others = {name for name in OF_DATA if ACTIONS[name].replaces == "version"}
    assert set(ALTERING) | set(WRITING) == OF_DATA - others
    assert {name for name in OF_DATA if ACTIONS[name].replaces == "data"} == set(ALTERING)


def test_native_code_is_given_an_action_or_its_entry_says_why_not():
    always = {
        name
        for name, spec in ACTIONS.items()
        if any(o == Obstacle(o.reason, o.nearest) for o in spec.in_native)
    }
    given = {name.partition("(")[0] for name in NUMBERED_ACTIONS}
    of_calls = {
        name for name, spec in ACTIONS.items() if spec.family == "value"
    }  # of Python, which files are not
    assert given - {"refused"} == set(ACTIONS) - always - of_calls


def test_native_code_numbers_the_actions_as_python_does():
    source = (FOLDER / "shim_faults.h").read_text(encoding="utf-8")
    (body,) = re.findall(r"^enum action \{(.*?)\};", source, re.MULTILINE | re.DOTALL)
    assert re.findall(r"ACT_(\w+)", body) == [
        "_".join(re.findall(r"\w+", name)).upper() for name in NUMBERED_ACTIONS
    ]


def test_native_code_has_what_changes_data_side_by_side_and_performs_each():
    first, last = NUMBERED_ACTIONS.index("full"), NUMBERED_ACTIONS.index("missing")
    assert set(NUMBERED_ACTIONS[first:last]) == OF_DATA
    performed = "".join(
        re.sub(r"^enum action \{.*?\};", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for path in FOLDER.glob("shim*.h")
    )
    assert set(re.findall(r"\bACT_(\w+)", performed)) == {
        "_".join(re.findall(r"\w+", name)).upper() for name in NUMBERED_ACTIONS
    }
