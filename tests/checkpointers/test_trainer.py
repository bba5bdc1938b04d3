"""`Trainer` as a value."""

import pytest

from faultkit import Trainer
from faultkit.checkpointers import trainers
from faultkit.checkpointers.training import TRAINING
from faultkit.exceptions import ScenarioError
from tests.helpers.small_trainers import SMALL


def nothing(*arguments):
    return None


FOUR = {"start": nothing, "step": nothing, "save": nothing, "load": nothing}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"name": "my trainer"},
            r"name must be letters, digits, '-' and '_', such as 'mine' \(got 'my trainer'\)",
        ),
        ({"start": 3}, r"trainer 'mine': start must be a function \(got 3\)"),
        ({"state": "model"}, r"state must be a function \(got 'model'\)"),
        ({"save": None, "load": None}, r"must have save and load, or a checkpointer \(got neither\)"),
        ({"load": None}, r"must have save and load, or a checkpointer \(got save alone\)"),
        ({"checkpointer": "dcp"}, r"and not both; leave out one of them"),
        ({"checkpointer": 3, "save": None, "load": None}, r"must be a Checkpointer or its name \(got 3\)"),
        ({"ignore": "meter.*"}, r"ignore must be a tuple of globs \(got 'meter.\*'\)"),
    ],
)
def test_a_mistake_is_one_line(fields, told):
    with pytest.raises(ScenarioError, match=told):
        Trainer(**{"name": "mine", **FOUR, **fields})


def test_it_prints_as_the_text_that_finds_it():
    chosen = trainers.get("training,wrap=ddp,amp=false")
    assert str(chosen) == "training,wrap=ddp,amp=false" == trainers.name_of(chosen)
    assert trainers.name_of(SMALL.with_options(scale_lost=True)) == (
        "tests.helpers.small_trainers:SMALL,scale_lost=true"
    )
    assert trainers.get(trainers.name_of(SMALL)) == SMALL


def test_a_checkpointer_is_a_trainer_that_saves_the_built_in_one():
    made = trainers.get("dcp,threads=2")
    assert made.start is TRAINING.start and str(made.saver) == "dcp,threads=2"
    assert made.can_reshard and not SMALL.can_reshard


def test_what_cannot_be_meant_is_told_with_what_is_nearest():
    with pytest.raises(ScenarioError, match=r"did you mean .training."):
        trainers.get("trianing")
    with pytest.raises(ScenarioError, match=r"must be a faultkit\.Trainer"):
        trainers.get("json:loads")
    with pytest.raises(ScenarioError, match=r"wrap"):
        trainers.get("training,wrap=zero").validate_for(2)
