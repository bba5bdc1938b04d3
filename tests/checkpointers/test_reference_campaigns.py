"""No campaign raises a false alarm on the checkpointer that keeps every promise."""

from __future__ import annotations

import pytest

from faultkit import World, crash, damage, scenarios
from faultkit.checkpointers import get
from faultkit.scenarios import Stage
from faultkit.sweep import sweep

pytestmark = pytest.mark.slow

WORK = get("reference").work


def test_it_has_all_work_but_the_asynchronous():
    assert WORK == ("save", "load", "overwrite", "resume", "prune")


@pytest.mark.parametrize("word", WORK)
def test_no_fault_of_files_breaks_a_promise(word):
    actions = ["raise(OSError, EIO)", "lie", "flip", "missing"]
    journal = sweep(
        f"reference.{word}", world=2, points=["fs.*"], actions=actions, moments=["before", "after"]
    )
    assert set(journal.totals) == {"HELD"} and journal.totals["HELD"] > 20


@pytest.mark.parametrize("state", ["dtypes", "shapes", "shared", "sharded", "numbered"])
def test_every_kind_of_state_is_saved_and_loaded(pair, state):
    for word in ("load", "resume"):
        with Stage(scenarios.get(f"reference.{word},state={state}")) as stage:
            stage.prepare(pair)
            stage.run(pair).raise_for_violations()


def test_no_death_breaks_a_promise():
    points = ["fs.rename", "fs.rename:after", "fs.fsync", "fs.unlink"]
    journal = sweep("reference.overwrite", world=2, points=points, actions=["kill(SIGKILL)"])
    assert set(journal.totals) == {"HELD"} and journal.totals["HELD"] > 3


@pytest.mark.parametrize("word", ["save", "overwrite", "resume"])
def test_no_crash_breaks_a_promise(pair, word):
    found = crash.explore(f"reference.{word}", world=pair)
    assert found.complete and found.explored > 100
    assert not found.findings, found.text()


def test_no_damage_is_taken_for_good():
    with World(2) as world:
        found = damage.survey("reference.overwrite", world=world, samples=1)
    assert {case.outcome for case in found.cases} == {"noticed"}
    assert {case.damage.action for case in found.cases} == {
        "flip",
        "zero",
        "truncate",
        "swap",
        "older",
        "delete",
    }
