"""Several asynchronous saves on their way at once: each is acknowledged by itself, and holds the state of its call."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.errors import InvalidArgument
from hypothesis.stateful import run_state_machine_as_test

from faultkit import World
from faultkit.history import checkpoint_history, replay_history
from tests.helpers.asynchronous_checkpointers import DEFECTS, IN_FLIGHT

pytestmark = pytest.mark.slow

RULES = ("save", "fail", "kill", "restart", "saves_in_flight")
FAILS = 'fs.write("2.new")@0=raise(OSError, EIO)'


@pytest.fixture(scope="module")
def worlds():
    with World(1) as world:
        yield {1: world}


def live(checkpointer, worlds, seed=0, lives=80, rules=RULES):
    machine = checkpoint_history(checkpointer, rules=rules, max_world=1, worlds=worlds)
    settings = hypothesis.settings(machine.TestCase.settings, max_examples=lives, database=None)
    run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=settings)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_of_saves_in_flight_is_found_by_drawn_lives(worlds, defect):
    with pytest.raises(AssertionError, match=r"SILENT_WRONG|LOST_WORK|UNUSABLE") as failure:
        live(
            IN_FLIGHT.with_options(defect=defect),
            worlds,
            rules=("save", "restart", "saves_in_flight", "kill"),
        )
    assert f"('saves_in_flight', {DEFECTS[defect]}" in str(failure.value), str(failure.value)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_twin_holds_whatever_happens(worlds, seed):
    live(IN_FLIGHT, worlds, seed, lives=6)


def test_each_save_is_acknowledged_by_itself(worlds):
    life = [("start", 1), ("saves_in_flight", 3, FAILS), ("restart", 1)]
    told = " ".join(replay_history(IN_FLIGHT, life, worlds=worlds).split())
    assert (
        told.startswith("HELD")
        and "save 2 failed on rank 0" in told
        and "only the others acknowledged" in told
    )
    assert "comes back to save 3 (of step 3)" in told


def test_a_save_that_says_well_and_never_was_there_is_lost(worlds):
    life = [("start", 1), ("saves_in_flight", 2, FAILS), ("restart", 1)]
    with pytest.raises(AssertionError, match=r"although save 1 \(of step 1\) is acknowledged"):
        replay_history(IN_FLIGHT.with_options(defect="forgets_the_first"), life, worlds=worlds)
    assert replay_history(IN_FLIGHT, life, worlds=worlds).startswith("HELD")


def test_the_job_may_be_killed_with_saves_in_flight(worlds):
    life = [("start", 1), ("save",), ("saves_in_flight", 2, "fs.write@0=kill(SIGKILL)"), ("restart", 1)]
    told = " ".join(replay_history(IN_FLIGHT, life, worlds=worlds).split())
    assert told.startswith("HELD") and "none is acknowledged; the job has ended" in told


def test_a_save_that_fails_by_itself_is_a_violation(worlds):
    life = [("start", 1), ("saves_in_flight", 2)]
    with pytest.raises(AssertionError, match="UNUSABLE") as failure:
        replay_history(IN_FLIGHT.with_options(defect="has_one_place_for_all"), life, worlds=worlds)
    assert "in which no fault happened" in " ".join(str(failure.value).split())


def test_saves_in_flight_are_asked_only_of_what_saves_asynchronously(worlds):
    with pytest.raises(ValueError, match="'dcp' does not save asynchronously"):
        replay_history("dcp", [("start", 1), ("saves_in_flight", 1)], worlds=worlds)
    with pytest.raises(InvalidArgument, match="'dcp' does not save asynchronously"):
        checkpoint_history("dcp", rules=["save", "saves_in_flight"])


def test_the_stock_engine_holds_with_one_save_in_flight(worlds):
    life = [("start", 1), ("saves_in_flight", 1), ("saves_in_flight", 1), ("restart", 1)]
    assert replay_history("dcp-async", life, worlds=worlds).startswith("HELD")
