"""From one value of functions every campaign follows.

A correct checkpointer of a user's own holds in each, and the same with one defect does not, with the right word.
"""

from __future__ import annotations

import sys

import hypothesis
import msgspec
import pytest
from hypothesis.stateful import run_state_machine_as_test

from faultkit import Checkpointer, FaultPlan, crash, scenarios
from faultkit.damage import survey
from faultkit.exceptions import ScenarioError
from faultkit.history import checkpoint_history, replay_history
from faultkit.scenarios import scenario_of
from faultkit.sweep import sweep
from tests.helpers import own_checkpointers
from tests.helpers.own_checkpointers import LATER, MINE, PARTS

pytestmark = pytest.mark.slow

HERE = own_checkpointers.__name__


def verdict_of(name):
    """What a scenario comes to with nothing broken."""
    [result] = sweep(f"{HERE}:{name}", world=2, plans=[FaultPlan()]).results
    return str(result.verdict)


@pytest.mark.parametrize(
    ("work", "defect", "verdict"),
    [
        ("MINE.save", "forgets_a_leaf", "SILENT_WRONG"),
        ("MINE.overwrite", "forgets_a_leaf", "SILENT_WRONG"),
        ("MINE.load", "names_another_step", "SILENT_WRONG"),
        ("MINE.resume", "names_another_step", "SILENT_WRONG"),
        ("MINE.resume", "loads_the_oldest", "SILENT_WRONG"),
        ("MINE.prune", "prunes_the_newest", "SILENT_WRONG"),
        ("LATER.async", "snapshot_is_late", "SILENT_WRONG"),
        ("PARTS.save", "forgets_the_last_rank", "SILENT_WRONG"),
        ("PARTS.overwrite", "forgets_the_last_rank", "SILENT_WRONG"),
        ("PARTS.save", "loses_the_last_rank", "LOST_WORK"),
    ],
)
def test_a_defect_shows_with_nothing_broken_and_its_twin_holds(work, defect, verdict):
    assert verdict_of(f"{work},defect={defect}") == verdict
    assert verdict_of(work) == "HELD"


def test_a_rank_that_is_not_told_of_a_failure_is_found_and_its_twin_holds():
    plan = FaultPlan.parse('fs.open("saving")@0=raise(OSError, ENOSPC)')
    [silent] = sweep(f"{HERE}:MINE.save,defect=tells_nobody", world=2, plans=[plan]).results
    [told] = sweep(f"{HERE}:MINE.save", world=2, plans=[plan]).results
    assert (str(silent.verdict), str(told.verdict)) == ("LOST_WORK", "HELD")


@pytest.mark.parametrize("word", ["save", "overwrite", "resume", "prune"])
def test_crashes_of_a_correct_one_are_without_violation(word):
    found = crash.explore(f"{HERE}:MINE.{word}", world=1)
    assert sum(found.totals.values()) > 3 and not found.findings


@pytest.mark.parametrize(
    ("work", "verdict"), [("overwrite,defect=in_place", "ERROR"), ("prune,defect=prunes_the_newest", "OLD")]
)
def test_crashes_of_a_defect_are_found(work, verdict):
    found = crash.explore(f"{HERE}:MINE.{work}", ("killed",), world=1)
    assert verdict in {finding.verdict for finding in found.findings}


def test_what_a_load_takes_for_good_although_it_was_damaged_is_found():
    found = survey(f"{HERE}:MINE", world=1, actions=("flip", "delete"), samples=2)
    assert found.silent and {case.damage.action for case in found.silent} == {"flip"}
    assert found.scenario == "mine.overwrite"


def test_a_history_goes_by_the_state_of_the_checkpointer():
    history = [("start", 2), ("save",), ("save",), ("restart", 1), ("prune", 1), ("restart", 2)]
    assert replay_history(MINE, history).startswith("HELD")
    with pytest.raises(
        AssertionError, match=r"^LOST_WORK[^\n]*\n  the job came back to save 1 \(of step 1\)"
    ):
        replay_history(MINE.with_options(defect="loads_the_oldest"), history)
    with pytest.raises(AssertionError, match="load loaded for step 2 is no checkpoint"):
        replay_history(MINE.with_options(defect="forgets_a_leaf"), history)


def lives(checkpointer):
    machine = checkpoint_history(checkpointer, rules=["save", "restart"], max_world=2)
    settings = hypothesis.settings(machine.TestCase.settings, max_examples=5, database=None)
    run_state_machine_as_test(hypothesis.seed(0)(machine), settings=settings)


def test_a_job_restarts_on_as_many_ranks_where_no_others_can_load():
    lives(PARTS)
    with pytest.raises(AssertionError, match=r"^LOST_WORK"):
        lives(msgspec.structs.replace(PARTS, reshards=True))
    with pytest.raises(ValueError, match=r"'parts' saved is loaded by as many ranks \(restart on 2\)"):
        replay_history(PARTS, [("start", 2), ("save",), ("restart", 1)])


def save_what_needs_a_module(state, directory, step):
    assert "wave" in sys.modules
    MINE.save(state, directory, step)


def test_the_ranks_of_a_history_have_imported_what_the_checkpointer_names():
    needs = msgspec.structs.replace(MINE, save=save_what_needs_a_module, preload=("wave",))
    assert replay_history(needs, [("start", 1), ("save",)]).startswith("HELD")


def test_what_a_checkpointer_can_do_says_which_scenarios_there_are():
    assert MINE.work == ("save", "load", "overwrite", "resume", "prune")
    assert LATER.work == ("save", "load", "overwrite", "resume", "async")
    with pytest.raises(
        ScenarioError, match=r"'later' has no scenario 'prune'; it has none, since it does not prune"
    ):
        scenario_of(f"{HERE}:LATER.prune")
    with pytest.raises(ScenarioError, match="did you mean 'save'"):
        scenario_of(f"{HERE}:MINE.sav")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("dcp", "dcp.save"),
        ("dcp.resume,threads=2", "dcp.resume,threads=2"),
        (f"{HERE}:MINE", f"{HERE}:MINE.save"),
        (f"{HERE}:MINE.prune", f"{HERE}:MINE.prune"),
    ],
)
def test_a_scenario_of_a_checkpointer_is_found_by_its_name(text, name):
    assert str(scenarios.get(text)) == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dcpp.save", "unknown checkpointer 'dcpp'; .*did you mean 'dcp'"),
        ("dcp.foo", r"no scenario 'foo'; its scenarios are dcp\.save"),
        ("dcp,thread=2", "no option 'thread'; .*did you mean 'threads'"),
        ("dcp,threads=two", "threads must be a whole number"),
    ],
)
def test_what_names_no_scenario_is_refused_with_what_is_nearest(text, words):
    with pytest.raises(ScenarioError, match=words):
        scenarios.get(text)


def test_a_load_stores_nothing_to_be_crashed():
    with pytest.raises(ScenarioError, match="a load stores nothing; name the save"):
        crash.explore("dcp.load")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "two words"}, "name must be letters"),
        ({"save": None}, "save must be a function"),
        ({"steps": [1]}, "steps must be a function"),
    ],
)
def test_what_is_no_checkpointer_is_refused(fields, words):
    with pytest.raises(ScenarioError, match=words):
        Checkpointer(**{"name": "mine", "save": print, "load": print, **fields})


def test_what_is_not_installed_is_one_line_with_the_command():
    lacking = Checkpointer(
        name="mine", save=print, load=print, requires=("torch>=1", "no-such-distribution>=2"), extra="mine"
    )
    with pytest.raises(
        ScenarioError, match=r"requires no-such-distribution>=2, which is not installed; .*faultkit\[mine\]"
    ):
        scenario_of(lacking)
    with pytest.raises(ScenarioError, match="distributions, such as"):
        scenario_of(Checkpointer(name="mine", save=print, load=print, requires=("not a ! name",)))
