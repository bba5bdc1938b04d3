"""A trainer is a checkpointer, too: the campaigns take it, and what its load forgets shows with nothing broken."""

import pytest

from faultkit import FaultPlan, scenarios
from faultkit.checkpointers import catalogue
from faultkit.exceptions import ScenarioError
from faultkit.history import replay_history
from faultkit.sweep import sweep
from tests.helpers import small_trainers
from tests.helpers.small_trainers import SMALL

HERE = f"{small_trainers.__name__}:SMALL"


def test_it_has_the_scenarios_and_the_options_of_a_checkpointer():
    made = catalogue.find(f"{HERE},scale_lost=true")
    assert made.work == ("save", "load", "overwrite", "resume")
    assert str(made) == "small,scale_lost=true" and not made.reshards
    assert scenarios.get(f"{HERE}.load,scale_lost=true").name == f"{HERE}.load"
    assert scenarios.get("training.save,wrap=ddp").keywords["wrap"] == "ddp"
    with pytest.raises(ScenarioError, match="has no scenario 'prune'"):
        scenarios.get(f"{HERE}.prune")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "verdict"),
    [("load", "HELD"), ("load,moments_dropped=true", "SILENT_WRONG"), ("overwrite", "HELD")],
)
def test_what_a_load_forgets_shows_with_nothing_broken(work, verdict):
    [result] = sweep(f"{HERE}.{work}", world=1, plans=[FaultPlan()]).results
    assert str(result.verdict) == verdict
    assert ("job.optimizer.exp_avg[0.weight]" in result.story) == (verdict != "HELD")


@pytest.mark.slow
def test_its_lives_come_back_to_the_job_that_was_saved():
    lived = [("start", 1), ("save",), ("save",), ("restart", 1), ("save",), ("restart", 1)]
    assert replay_history(SMALL, lived).startswith("HELD")
    with pytest.raises(AssertionError, match="SILENT_WRONG"):
        replay_history(SMALL.with_options(buffer_not_saved=True), lived)
