"""Every built-in checkpointer and every state holds with nothing broken; what one does not do is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis.errors import InvalidArgument

from faultkit import World, checkpointers, crash, damage, scenarios
from faultkit.checkpointers import state_kinds
from faultkit.checkpointers.requirements import missing
from faultkit.exceptions import ScenarioError
from faultkit.history import checkpoint_history, replay_history
from faultkit.scenarios import Stage

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
NAMES = [name for name in checkpointers.BUILT_IN.homes if name != "dcp-async-process"]  # which takes long
OF_THE_STOCK_ENGINE = sorted(
    {*state_kinds.KINDS} - {"default", "checkpointable", "numbered", "many", "large"}
)


@pytest.fixture(scope="module")
def single():
    with World(1) as world:
        yield world


def verdict(world, text):
    with Stage(scenarios.get(text)) as stage:
        run = stage.run(world)
    return (
        f"{run.verdict}: {[violation.evidence for violation in run.violations]}" if run.violations else "HELD"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_resume_holds_with_nothing_broken(pair, single, name):
    checkpointer = checkpointers.find(name)
    if lacking := missing(checkpointer):
        pytest.skip(f"{name} needs {', '.join(lacking)}")
    if name == "dcp-fsspec-memory":
        assert verdict(single, f"{name}.save") == "HELD"
    else:
        assert verdict(pair, f"{name}.resume") == "HELD"


@pytest.mark.parametrize("name", checkpointers.BUILT_IN.homes)
def test_its_options_can_be_meant_as_they_are_and_with_more_threads(name):
    checkpointer = checkpointers.find(name)
    if "threads" in dict(checkpointer.options):
        checkpointer = checkpointer.with_options(threads=3)
    for size in (1,) if name == "dcp-fsspec-memory" else (1, 2):
        assert not checkpointer.check(world_size=size, **checkpointer.keywords)


def test_a_history_is_asked_for_as_many_ranks_as_it_has():
    steps = [("start", 2), ("save",), ("restart", 2)]
    assert replay_history("dcp,group=first-half", steps).startswith("HELD")
    with pytest.raises(InvalidArgument, match="group=first-half needs"):
        replay_history("dcp,group=first-half", [("start", 1), ("save",)])


@pytest.mark.slow
@pytest.mark.parametrize("state", OF_THE_STOCK_ENGINE)
def test_every_state_that_is_saved_is_read_back_as_it_was(pair, state):
    assert verdict(pair, f"dcp.save,state={state}") == "HELD"


@pytest.mark.skipif(VERSION not in ((2, 13), (2, 14)), reason="what torch 2.13 and 2.14 do")
def test_a_plain_value_under_a_number_is_told_as_what_a_load_makes_of_it(pair):
    told = verdict(pair, "dcp.save,state=numbered")
    assert told.startswith("SILENT_WRONG") and "save 1 succeeded, and it loads without an error, but" in told
    assert "'optimizer.state.0.step', 'optimizer.state.0.step (another key)'" in told


def test_plain_values_under_numbers_hold_where_a_load_puts_them_in_their_place(pair):
    assert verdict(pair, "reference.save,state=numbered") == "HELD"


def test_a_step_that_may_not_be_written_over_is_not():
    with pytest.raises(
        ScenarioError,
        match=r"^checkpointer 'dcp,overwrite=false' has no scenario 'overwrite'; it has none, since it does not",
    ):
        scenarios.get("dcp.overwrite,overwrite=false")
    assert str(crash.get("dcp,overwrite=false")) == "dcp.resume,overwrite=false"
    assert str(crash.get("dcp")) == "dcp.overwrite"
    with pytest.raises(InvalidArgument, match=r"'dcp,overwrite=false' does not replace a step"):
        checkpoint_history("dcp,overwrite=false", rules=["save", "overwrite"])


def test_what_is_lost_with_its_rank_is_only_saved():
    told = "since what it saves is lost with the process of its rank"
    assert checkpointers.find("dcp-fsspec-memory").work == ("save",)
    for refused in (
        lambda: scenarios.get("dcp-fsspec-memory.load"),
        lambda: crash.explore("dcp-fsspec-memory", world=1),
        lambda: checkpoint_history("dcp-fsspec-memory", max_world=1),
    ):
        with pytest.raises((ScenarioError, InvalidArgument), match=told):
            refused()
    with pytest.raises(ScenarioError, match="cannot be explored: what it saves is lost with the process"):
        damage.survey("dcp-fsspec-memory", world=1)
