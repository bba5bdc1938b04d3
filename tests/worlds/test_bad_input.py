"""Bad input is refused with subject, rule and what was seen, before any process is started."""

from __future__ import annotations

import math
import pickle
import threading

import psutil
import pytest

from faultkit import World
from faultkit.exceptions import ArgumentError
from faultkit.plan import FaultPlan, PlanError
from faultkit.worlds import TransportError


@pytest.fixture(autouse=True)
def nothing_was_started():
    """No process and no world: each test of this file fails before that."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    assert {process.pid for process in psutil.Process().children(recursive=True)} == before


@pytest.mark.parametrize("size", [0, -1, True, 10_000, "4", 2.0, None])
def test_a_size_that_is_no_number_of_ranks_is_refused(size):
    with pytest.raises(ValueError) as refusal:
        World(size)
    assert "size must be a number of ranks from 1 to" in str(refusal.value) and f"got {size!r}" in str(
        refusal.value
    )


def test_what_is_refused_is_told_with_and_without_whose_argument_it_is():
    with pytest.raises(ArgumentError) as refusal:
        World(0)
    for error in (refusal.value, pickle.loads(pickle.dumps(refusal.value))):
        assert str(error) == f"World: {error.reason}" and error.subject == "World"
        assert error.reason.startswith("size must be a number of ranks")


@pytest.mark.parametrize(
    ("kind", "nearest"), [("wram", "warm"), ("Fresh", "fresh"), ("spwan", "spawn"), (3, "")]
)
def test_a_kind_that_does_not_exist_is_refused_with_the_nearest(kind, nearest):
    with pytest.raises(ValueError) as refusal:
        World(2, kind=kind)
    assert "one of warm, fresh, spawn" in str(refusal.value) and f"got {kind!r}" in str(refusal.value)
    assert nearest in str(refusal.value).rpartition("nearest is")[2]


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf, "1", True, None])
def test_a_timeout_that_is_no_time_is_refused(timeout):
    with pytest.raises(ValueError) as refusal:
        World(2, timeout=timeout)
    assert "timeout must be a number of seconds above 0" in str(refusal.value)


@pytest.mark.parametrize("timeout", [0, math.nan, math.inf])
def test_the_timeout_of_a_run_is_refused_alike(timeout):
    with World(2) as world, pytest.raises(ValueError, match="timeout must be a number of seconds above 0"):
        world.run(print, timeout=timeout)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "x", True])
def test_a_seed_that_seeds_no_generator_is_refused(seed):
    with pytest.raises(ValueError, match=r"World: seed must be a whole number from 0 to \d+ \(got "):
        World(2, seed=seed)
    with World(2) as world, pytest.raises(ValueError, match="seed must be a whole number"):
        world.run(print, seed=seed)


@pytest.mark.parametrize("group_timeout", [0, -1, "a"])
def test_a_group_timeout_that_is_no_time_is_refused(group_timeout):
    with pytest.raises(ValueError, match="group_timeout must be a number of seconds above 0"):
        World(2, group_timeout=group_timeout)


@pytest.mark.parametrize("schedule", ["abc", [0], 5, (0, "x"), (-1,), (1.5,)])
def test_a_schedule_that_is_no_tuple_of_numbers_is_refused(schedule):
    with (
        World(2, kind="simulated") as world,
        pytest.raises(ValueError, match="schedule must be a tuple of numbers"),
    ):
        world.run(print, schedule=schedule)


def test_a_plan_for_processes_has_no_schedule():
    with World(2, kind="auto") as world, pytest.raises(PlanError, match="cannot happen to a simulated rank"):
        world.run(print, plan="writer.write_data@1=segfault", schedule=(0,))


def refused(*args, plan=None, **kwargs):
    with World(2) as world:
        with pytest.raises((TransportError, PlanError, TypeError)) as refusal:
            world.run(*args, plan=plan, **kwargs)
        assert world.pids() == {}
    return str(refusal.value)


def test_an_argument_that_cannot_travel_is_named():
    text = refused(print, "fine", threading.Lock())
    assert "argument 1 (<unlocked _thread.lock" in text and "cannot pickle" in text


def test_a_keyword_argument_that_cannot_travel_is_named():
    assert "argument 'file' (<unlocked" in refused(print, file=threading.Lock())


def test_a_variable_of_a_closure_that_cannot_travel_is_named():
    lock = threading.Lock()
    assert "because of its variable 'lock' (<unlocked" in refused(lambda: lock)


def test_a_generator_as_an_argument_is_named():
    assert "argument 0 (<generator" in refused(print, (one for one in ()))


def test_what_cannot_be_called_is_no_function():
    assert "must be callable (got 3)" in refused(3)


def test_a_plan_for_a_rank_beyond_the_world_is_refused():
    text = refused(print, plan="writer.write_data@2=raise(ValueError)")
    assert "2" in text and "rank" in text


def test_a_plan_that_does_not_parse_is_refused():
    assert "write_data" in refused(print, plan="writer.write_dta=raise(ValueError)")


def test_what_is_no_plan_is_refused():
    assert "plan must be a FaultPlan or its text (got 7)" in refused(print, plan=7)


def test_a_closed_world_runs_nothing():
    world = World(2)
    world.close()
    world.close()
    with pytest.raises(ValueError, match=r"World\(2, kind='warm'\) is closed"):
        world.run(print)
    with pytest.raises(ValueError, match="is closed"):
        world.prepare()


def test_a_world_does_not_travel_to_its_own_ranks():
    with World(2) as world, pytest.raises(TransportError, match=r"argument 0 \(World\(2"):
        world.run(print, world, plan=FaultPlan())
