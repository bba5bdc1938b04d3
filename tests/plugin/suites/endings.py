"""Tests that are left by an exception, or look away from one: what the outcome is, `test_dead_assertions` says."""

from __future__ import annotations

import functools
import os
import sys

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from faultkit import Verdict, World

FULL_DISK = "writer.write_data@1=raise(OSError, ENOSPC)"
SLOW = "writer.write_data@1=delay(0.01)"
KILLED = "writer.write_data@1=kill(SIGKILL)"

pytestmark = pytest.mark.world(2)


def save(directory):
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)


class Swallowing(dcp.FileSystemWriter):
    def write_data(self, plan, planner):
        try:
            return super().write_data(plan, planner)
        except OSError:
            done = torch.futures.Future()
            done.set_result([])
            return done


# -- bodies ------------------------------------------------------------------------------------------


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK)
def test_the_error_leaves_the_body(checkpoint_dir):
    save(checkpoint_dir)
    assert 1 == 2


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK)
@pytest.mark.parametrize("number", [3])
def test_the_error_leaves_the_body_of_a_parameter(checkpoint_dir, number):
    save(checkpoint_dir)
    assert number == 4


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK)
def test_the_error_is_looked_at_in_the_body(checkpoint_dir):
    with pytest.raises(dcp.CheckpointException):
        save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK, raises=(KeyError, dcp.CheckpointException))
def test_the_error_is_meant(checkpoint_dir):
    save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK, raises=OSError)
def test_another_error_is_meant(checkpoint_dir):
    save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK, raises=dcp.CheckpointException)
def test_nobody_raises_what_is_meant(checkpoint_dir):
    with pytest.raises(BaseException, match="ENOSPC"):
        save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK, raises=dcp.CheckpointException)
def test_one_rank_does_not_raise_what_is_meant(checkpoint_dir):
    try:
        save(checkpoint_dir)
    except dcp.CheckpointException:
        if dist.get_rank() == 1:
            raise


@pytest.mark.spmd
@pytest.mark.faults(SLOW, raises=dcp.CheckpointException)
def test_a_fault_that_is_no_error_raises_nothing(checkpoint_dir):
    save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.faults("", FULL_DISK, raises=dcp.CheckpointException)
def test_without_a_fault_nothing_is_to_be_raised(checkpoint_dir):
    save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.faults("", raises=ValueError)
def test_without_a_fault_an_error_is_a_failure():
    raise ValueError("not by a fault")


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK, raises=BaseException)
def test_an_assertion_is_never_meant(checkpoint_dir):
    try:
        save(checkpoint_dir)
    except dcp.CheckpointException as error:
        assert set(error.failures) == {0}  # noqa: PT017


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK, raises=BaseException)
def test_a_missing_error_is_never_meant(checkpoint_dir):
    with pytest.raises(ZeroDivisionError), pytest.raises(dcp.CheckpointException):
        save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.faults(KILLED, raises=RuntimeError)
def test_a_rank_that_is_killed_is_not_asked(checkpoint_dir):
    dist.barrier()
    save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK, raises=dcp.CheckpointException)
def test_what_is_meant_excuses_no_broken_promise(checkpoint_dir):
    dcp.save({"weight": torch.ones(8)}, storage_writer=Swallowing(checkpoint_dir))
    raise dcp.CheckpointException("of its own", {})


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK)
@pytest.mark.xfail(raises=dcp.CheckpointException, strict=True)
def test_the_marker_xfail_says_it_too(checkpoint_dir):
    save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK)
def test_an_assertion_beside_an_open_save(checkpoint_dir):
    dist.new_group()
    future = dcp.async_save({"weight": torch.ones(8)}, checkpoint_id=checkpoint_dir)
    try:
        assert future is None
    finally:
        with pytest.raises(dcp.CheckpointException):
            future.result()


@pytest.mark.spmd
@pytest.mark.parametrize("status", [0, 1])
def test_the_body_ends_the_rank(status):
    sys.exit(status)


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK, may_not_fire=True)
@pytest.mark.parametrize("end", [sys.exit, os._exit])
def test_the_body_ends_the_rank_under_a_plan(end):
    end(0)


def plain(function):
    @functools.wraps(function)
    def test():
        return function()

    del test.__wrapped__
    return test


async def never_awaited():
    raise AssertionError


def never_iterated():
    yield
    raise AssertionError


test_a_body_that_nobody_awaits = pytest.mark.spmd(plain(never_awaited))
test_a_body_that_nobody_iterates = pytest.mark.spmd(plain(never_iterated))


# -- runs of the fixture -----------------------------------------------------------------------------


def save_and_claim(directory):
    save(directory)
    assert 1 == 2


def claim():
    assert 1 == 2


def leave():
    os._exit(0)


@pytest.mark.faults(FULL_DISK)
def test_nobody_looks_at_the_error(world, checkpoint_dir):
    world.run(save_and_claim, checkpoint_dir)


async def asynchronous():
    raise AssertionError


def later():
    return asynchronous()


@pytest.mark.parametrize("function", [claim, leave, later])
def test_nobody_looks_at_the_end(world, function):
    run = world.run(function)
    assert run.seconds and not run.fired and repr(run)


@pytest.mark.parametrize("kind", ["fresh", "simulated"])
def test_nobody_looks_at_the_end_in_another_kind_of_world(world, kind):
    with world.replace(kind=kind) as other:
        other.run(claim)


def test_nobody_looks_at_the_end_in_a_world_of_its_own(checkpoint_dir):
    with World(1) as own:
        own.run(claim)


def test_nobody_looks_at_one_of_many_ends(world):
    for _ in range(40):
        world.run(int)
    world.run(claim)
    for _ in range(40):
        world.run(int)


@pytest.mark.parametrize(
    "look",
    [
        lambda run: run.outcomes[0],
        lambda run: run.verdict,
        lambda run: run.violations,
        lambda run: run.story(),
        lambda run: run.seconds_to_know,
        lambda run: run.raise_for_violations(),
    ],
    ids=["outcomes", "verdict", "violations", "story", "seconds_to_know", "raise_for_violations"],
)
@pytest.mark.faults(FULL_DISK)
def test_somebody_looks(world, checkpoint_dir, look):
    look(world.run(save, checkpoint_dir))


@pytest.mark.faults(FULL_DISK, raises=dcp.CheckpointException)
def test_what_is_meant_needs_no_look(world, checkpoint_dir):
    world.run(save, checkpoint_dir)


@pytest.mark.faults(FULL_DISK, raises=dcp.CheckpointException)
def test_what_is_meant_is_asked_of_every_run_under_the_plan(world, checkpoint_dir):
    world.run(save, checkpoint_dir)
    run = world.run(save_quietly, checkpoint_dir)
    assert run.outcomes[0].value is None


def save_quietly(directory):
    try:
        save(directory)
    except dcp.CheckpointException:
        pass


def fails_afterwards(directory):
    if (directory / "again").exists():
        raise AssertionError("the second time")
    dist.barrier()
    (directory / "again").touch()


def test_nobody_looks_at_the_attempts_after(world, checkpoint_dir):
    run = world.run(fails_afterwards, checkpoint_dir, attempts_after=1)
    assert run.outcomes[0].value is None


@pytest.mark.parametrize(
    "look", [lambda run: run.attempts_after[0], lambda run: run.verdict], ids=["attempts_after", "verdict"]
)
def test_somebody_looks_at_the_attempts_after(world, checkpoint_dir, look):
    assert look(world.run(fails_afterwards, checkpoint_dir, attempts_after=1))


def expects_another_error(directory):
    with pytest.raises(ZeroDivisionError), pytest.raises(dcp.CheckpointException):
        save(directory)


@pytest.mark.faults(FULL_DISK)
def test_a_missing_error_is_a_broken_promise(world, checkpoint_dir):
    run = world.run(expects_another_error, checkpoint_dir)
    assert run.verdict is Verdict.UNUSABLE


@settings(max_examples=3, database=None, derandomize=True)
@given(is_rejected=st.booleans())
def test_an_example_that_is_rejected_is_none(world, is_rejected):
    if is_rejected:
        world.run(claim)
        assume(False)
    world.run(int)


@pytest.fixture
def saved(world, checkpoint_dir):
    world.run(save_and_claim, checkpoint_dir, plan=None)
    return checkpoint_dir


def test_nobody_looks_at_the_run_of_a_fixture(saved):
    pass


@pytest.mark.spmd
def test_nobody_looks_at_the_run_of_a_fixture_of_a_body(saved):
    pass


@pytest.fixture
def cleaned(world):
    yield
    world.run(claim)


def test_nobody_looks_at_the_run_behind_a_yield(cleaned):
    pass


def test_a_failure_is_told_once(cleaned):
    raise KeyError("its own")
