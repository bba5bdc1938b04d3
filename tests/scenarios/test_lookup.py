"""Scenarios are found by name, and a name that is none says what there is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from faultkit import Checkpointer, FaultPlan, crash, scenarios
from faultkit.scenarios import BUILT_IN, Scenario, ScenarioError, of_function
from tests.helpers.stuck import SECONDS_MAX


def write_nothing(directory):
    """Write nothing at all."""


def take_nothing():
    pass


def need_more(directory, size):
    pass


OWN = Checkpointer(
    name="own",
    save=lambda state, directory, step, keep: None,
    load=lambda state, directory: None,
    options=(("keep", 1),),
)
MINE = Scenario(name="mine", function=write_nothing, options=(("size", 3), ("word", "a"), ("speed", 0.5)))


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_built_in_scenarios_are_found_by_name(name):
    assert scenarios.get(name) == BUILT_IN[name]
    assert str(BUILT_IN[name]) == name


def test_options_follow_after_commas_and_stay_in_the_text():
    found = scenarios.get("dcp-save,coordinator=1")
    assert found.keywords == {"coordinator": 1, "threads": 1}
    assert str(found) == "dcp-save,coordinator=1"
    assert scenarios.get(str(found)) == found


def test_an_option_at_its_default_is_not_told():
    assert str(scenarios.get("dcp-save,coordinator=0")) == "dcp-save"


def test_options_have_the_type_of_their_default():
    found = scenarios.get(f"{__name__}:MINE,size=4,word=b,speed=1")
    assert found.keywords == {"size": 4, "word": "b", "speed": 1.0}


def test_a_scenario_of_ones_own_keeps_the_name_it_was_found_by():
    assert str(scenarios.get(f"{__name__}:MINE,size=4")) == f"{__name__}:MINE,size=4"


@pytest.mark.parametrize("text", [f"{__name__}:OWN", f"{__name__}:OWN,keep=2", f"{__name__}:OWN.load"])
def test_the_work_of_a_checkpointer_of_ones_own_has_a_name_by_which_it_is_found_again(text):
    found = scenarios.get(text)
    again = scenarios.get(str(found))
    assert str(again) == str(found) and again.function == found.function and again.keywords == found.keywords


def test_a_plain_function_is_a_scenario():
    found = scenarios.get(f"{__name__}:write_nothing")
    assert found.function is write_nothing
    assert found.takes_directory
    assert found.summary == "Write nothing at all."
    assert not of_function(take_nothing).takes_directory


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dcp-sav", ["'dcp-sav'", "dcp-save, dcp-load", "did you mean 'dcp-save'?"]),
        ("", ["unknown scenario ''"]),
        ("dcp-save,coordinato=1", ["no option 'coordinato'", "did you mean 'coordinator'?"]),
        ("dcp-save,coordinator", ["name=value", "'coordinator'"]),
        ("dcp-save,coordinator=one", ["coordinator must be a whole number, as 0 is", "'one'"]),
        ("dcp-save,coordinator=true", ["a whole number", "True"]),
        ("no_such_module:save", ["no module 'no_such_module'"]),
        ("json:dumpz", ["no attribute 'dumpz'", "did you mean 'dump"]),
        ("json:", ["module:attribute"]),
        (":save", ["module:attribute"]),
        ("sys:maxsize", ["must be a function", "int"]),
        (f"{__name__}:need_more", ["needs size", "'directory'"]),
    ],
)
def test_what_is_no_scenario_is_told_in_one_line(text, words):
    with pytest.raises(ScenarioError) as caught:
        scenarios.get(text)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_module_that_cannot_be_imported_says_why(tmp_path, monkeypatch):
    (tmp_path / "bad_scenario_module.py").write_text("raise RuntimeError('half a line\\nand more')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ScenarioError, match=r"RuntimeError: half a line$"):
        scenarios.get("bad_scenario_module:save")


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        ("writer.write_data=hang", "dcp-save"),
        ("reader.read_data=hang", "dcp-load"),
        ("planner.load_bytes=hang", "dcp-load"),
        ("storage.read_metadata=hang", "dcp-load"),
        ("app.load_state_dict=hang", "dcp-load"),
        ("comm.barrier=hang", "dcp-save"),
        ("comm.all_gather_object=hang", "dcp-load"),
        ("fs.write=lie", "dcp-save"),
        ("fs.open=hang", "dcp-save"),
        ('fs.open("*.distcp")=stale', "dcp-load"),
        ("fs.create_stream=cut", "dcp-load"),
        ("fs.read=flip", "dcp-load"),
        ("", "dcp-save"),
    ],
)
def test_a_plan_has_the_scenario_that_comes_by_its_points(plan, name):
    assert scenarios.scenario_for_plan(FaultPlan.parse(plan)).name == name


def test_a_plan_that_needs_a_save_and_a_load_has_none():
    plan = FaultPlan.parse("writer.finish=hang; reader.reset=hang")
    with pytest.raises(ScenarioError, match=r"both reader.reset and writer.finish"):
        scenarios.scenario_for_plan(plan)


def test_finding_a_scenario_imports_no_torch():
    code = "import sys, faultkit; faultkit.scenarios.get('dcp-load'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=SECONDS_MAX).returncode == 0


def test_the_same_text_means_the_same_to_a_sweep_and_to_crashes():
    crashing = crash.get("dcp-overwrite, threads = 2")
    assert scenarios.get("dcp-overwrite, threads = 2").keywords["threads"] == 2
    assert crashing.keywords_of(crashing.save)["threads"] == 2
    for get in (scenarios.get, crash.get):
        for text, words in (
            ("dcp-overwrite,threads=x", "a whole number"),
            ("dcp-overwrite,a=1,a=2", "stands twice"),
        ):
            with pytest.raises(ScenarioError, match=words):
                get(text)


def test_another_name_for_the_same_work_is_found_by_crashes_alone_where_it_is_theirs():
    assert str(crash.get("dcp-save,threads=2")) == "dcp-fresh,threads=2"
    assert scenarios.get("dcp-save").name == "dcp-save"
    with pytest.raises(ScenarioError, match="unknown crash scenario 'dcp-load'"):
        crash.get("dcp-load")


def test_an_option_that_is_told_is_read_back():
    given = crash.Scenario(
        name="x", save=take_nothing, load=take_nothing, options=(("quick", False), ("of", [1]))
    )
    told = str(given.with_options(quick=True))
    assert told == "x,quick=true"
    assert scenarios.options_of(told) == ("x", {"quick": True})
