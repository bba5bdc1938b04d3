"""A prune keeps what a job can come back to: while a save is in flight, after one that failed, and where it fails."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.errors import InvalidArgument
from hypothesis.stateful import run_state_machine_as_test

from faultkit import World
from faultkit.history import checkpoint_history, replay_history
from tests.helpers.pruning_checkpointers import DEFECTS, PRUNING

pytestmark = pytest.mark.slow

RULES = ("save", "fail", "kill", "restart", "prune", "fail_prune", "save_and_prune")
FAILS = 'fs.write("data.json")@0=raise(OSError, EIO)'


@pytest.fixture(scope="module")
def worlds():
    with World(1) as world:
        yield {1: world}


def live(checkpointer, worlds, rules, seed=0, lives=60):
    machine = checkpoint_history(checkpointer, rules=rules, max_world=1, worlds=worlds)
    settings = hypothesis.settings(machine.TestCase.settings, max_examples=lives, database=None)
    run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=settings)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_prune_that_removes_the_last_good_one_is_found_by_drawn_lives(worlds, defect):
    with pytest.raises(AssertionError, match="LOST_WORK") as failure:
        live(PRUNING.with_options(defect=defect), worlds, DEFECTS[defect])
    story = str(failure.value)
    assert ("('save_and_prune', 1, " in story) is (defect == "counts_what_is_in_flight"), story
    assert ("('prune', 1, " in story) is (defect == "moves_what_it_keeps"), story


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_twin_holds_whatever_happens(worlds, seed):
    live(PRUNING, worlds, RULES, seed, lives=5)


def test_the_smallest_life_that_loses_what_was_saved_by_a_prune_in_flight(worlds):
    life = [("start", 1), ("save",), ("save_and_prune", 1, FAILS), ("restart", 1)]
    with pytest.raises(AssertionError, match=r"save 1 \(of step 1\) is acknowledged") as failure:
        replay_history(PRUNING.with_options(defect="counts_what_is_in_flight"), life, worlds=worlds)
    assert "it is not acknowledged; meanwhile all but the newest 1 are pruned" in " ".join(
        str(failure.value).split()
    )
    assert replay_history(PRUNING, life, worlds=worlds).startswith("HELD")


def test_a_prune_that_a_fault_hits_may_fail_and_keeps_the_newest(worlds):
    life = [
        ("start", 1),
        ("save",),
        ("save",),
        ("prune", 1, "fs.unlink@0=raise(OSError, EIO)"),
        ("restart", 1),
    ]
    told = replay_history(PRUNING, life, worlds=worlds)
    assert (
        told.startswith("HELD") and "are pruned while fs.unlink@0=raise(OSError, EIO); rank 0 raised" in told
    )


def test_a_prune_in_flight_is_asked_only_of_what_saves_asynchronously(worlds):
    with pytest.raises(ValueError, match="'dcp' does not save asynchronously"):
        replay_history("dcp", [("start", 1), ("save_and_prune", 1)], worlds=worlds)
    with pytest.raises(InvalidArgument, match="'dcp' does not save asynchronously"):
        checkpoint_history("dcp", rules=["save", "save_and_prune"])
