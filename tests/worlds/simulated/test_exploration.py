"""The same seed is the same run, bit for bit; other seeds find other orders; a small case is searched whole."""

from __future__ import annotations

import itertools
import threading

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings

from faultkit import Verdict, World, strategies
from faultkit.worlds.simulated import ScheduleError, compare, explore


def save_in_the_background(directory):
    dcp.async_save({"weight": torch.ones(8)}, checkpoint_id=directory).result()


def look_for_a_key():
    store = dist.distributed_c10d._get_default_store()
    if dist.get_rank() == 0:
        store.set("key", "there")
    elif not store.check(["key"]):
        raise LookupError("not there yet")


@pytest.mark.parametrize("seed", [0, 7])
def test_a_run_is_the_same_bit_for_bit(pair, place, seed):
    comparison = compare(
        pair,
        save_in_the_background,
        place.path,
        plan="writer.write_data@1=raise(ValueError)",
        seed=seed,
        before=place.clear,
    )

    assert comparison.difference is None
    assert comparison.first._logs == comparison.second._logs and len(comparison.first.events) > 10


def test_the_first_difference_is_told(pair, place):
    turns = itertools.count()

    def save(directory, turn):
        print("turn", turn)
        dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)

    with pytest.raises(ValueError, match="must be of kind 'simulated'"):
        compare(World(2), save, place.path, 0)
    place.clear()
    runs = [pair.run(save, place.path, next(turns)) for _ in range(2)]
    from faultkit.worlds.simulated import first_difference

    assert first_difference(*runs).startswith("output of rank 0: 'turn 0\\n', then 'turn 1\\n")


def test_seeds_find_orders_that_the_plainest_schedule_does_not(pair):
    ends = {seed: pair.run(look_for_a_key, seed=seed).outcomes[1].kind for seed in range(8)}

    assert ends[0] == "returned"
    assert set(ends.values()) == {"returned", "raised"}


def test_hypothesis_draws_the_schedule_and_shrinks_it(pair):
    @settings(max_examples=30, database=None, derandomize=True)
    @given(seed=strategies.schedules())
    def holds(seed):
        assert pair.run(look_for_a_key, seed=seed).outcomes[1].kind == "returned", seed

    with pytest.raises(AssertionError) as failed:
        holds()
    shrunk = int(str(failed.value).partition("\n")[0])
    assert pair.run(look_for_a_key, seed=shrunk).outcomes[1].kind == "raised" and shrunk


def test_a_schedule_of_another_run_is_an_error_that_has_the_run(pair):
    with pytest.raises(ScheduleError, match="thread 99 cannot go on at decision 0; 0, 1 can") as caught:
        pair.run(look_for_a_key, schedule=(99,))
    assert caught.value.run.outcomes.keys() == {0, 1}


def test_what_a_search_is_given_is_checked(pair):
    for wrong in ({"until": 5}, {"before": 5}, {"schedule": (0,)}, {"bound": 0}):
        with pytest.raises(ValueError, match="explore: "):
            explore(pair, look_for_a_key, **wrong)


def test_all_schedules_of_a_race_are_two(pair):
    found = explore(pair, look_for_a_key)

    assert (found.covered, found.is_complete) == (2, True)
    assert found.verdicts == {"HELD": 1, "UNUSABLE": 1} and found.worst.outcomes[1].type_name == "LookupError"
    assert str(found).endswith("left out: complete")
    again = pair.run(look_for_a_key, schedule=found.worst.simulation.schedule)
    assert again.outcomes[1].type_name == "LookupError"


def test_schedules_of_a_save_differ_in_who_makes_the_directory_alone(pair, place):
    found = explore(
        pair,
        lambda path: dcp.save({"weight": torch.ones(8)}, checkpoint_id=path),
        place.path,
        plan="writer.write_data@1=raise(ValueError)",
        before=place.clear,
    )

    # as many as orders in which the ranks look for the directory and make it
    assert (found.is_complete, found.verdicts) == (True, {"HELD": found.covered}) and found.covered < 10


def test_a_lock_order_that_can_deadlock_is_found():
    def cross():
        first, second = threading.Lock(), threading.Lock()

        def other():
            with second, first:
                pass

        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        with first, second:
            pass
        thread.join()

    with World(1, kind="simulated") as world:
        found = explore(world, cross, bound=60, until=lambda run: run.verdict == Verdict.HUNG)
        assert found.worst.verdict == Verdict.HUNG and not found.is_complete
        assert world.run(cross, schedule=found.worst.simulation.schedule).verdict == Verdict.HUNG
        with pytest.raises(ValueError, match="bound must be a number of runs from 1"):
            explore(world, cross, bound=0)
