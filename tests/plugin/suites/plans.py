"""Tests with plans, as bodies on ranks and with the fixture world: what the outcome is, `test_plans` says."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.distributed.checkpoint as dcp

import faultkit

FULL_DISK = "writer.write_data@1=raise(OSError, ENOSPC)"
BAD_FINISH = "writer.finish@0=raise(ValueError)"

pytestmark = pytest.mark.world(2)


def save(directory):
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)


def nothing():
    pass


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK, pytest.param(BAD_FINISH, id="finish"), raises=dcp.CheckpointException)
def test_every_promise_holds(checkpoint_dir):
    save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.world(2, 3)
@pytest.mark.faults(FULL_DISK, BAD_FINISH, raises=dcp.CheckpointException)
def test_each_plan_in_each_size(checkpoint_dir):
    save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK)
def test_body_is_wrong(checkpoint_dir):
    with pytest.raises(BaseException, match="ENOSPC"):
        save(checkpoint_dir)
    assert list(checkpoint_dir.iterdir()) == ["nothing"]


class Swallowing(dcp.FileSystemWriter):
    def write_data(self, plan, planner):
        try:
            return super().write_data(plan, planner)
        except OSError:
            done = torch.futures.Future()
            done.set_result([])
            return done


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK)
def test_writer_swallows(checkpoint_dir):
    print("about to save")
    dcp.save({"weight": torch.ones(8)}, storage_writer=Swallowing(checkpoint_dir))


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK)
def test_skip_under_a_plan(checkpoint_dir):
    pytest.skip("no plan for this")


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK)
def test_body_never_comes_by_the_point():
    pass


@pytest.mark.spmd
@pytest.mark.faults(FULL_DISK, may_not_fire=True)
def test_body_may_not_come_by_the_point():
    pass


@pytest.mark.faults(FULL_DISK)
def test_the_plan_of_the_marker_is_the_default(world, plan, checkpoint_dir):
    run = world.run(save, checkpoint_dir)
    assert run.plan == plan == faultkit.FaultPlan.parse(FULL_DISK)
    assert len(run.fired) == 1
    run.raise_for_violations()


def test_a_plan_of_its_own_for_each_run(world, tmp_path):
    for number, plan in enumerate((FULL_DISK, BAD_FINISH, None)):
        run = world.run(save, tmp_path / str(number), plan=plan)
        assert run.verdict is faultkit.Verdict.HELD


@pytest.mark.faults(FULL_DISK)
def test_run_never_comes_by_the_point(world):
    world.run(nothing)


@pytest.mark.faults(FULL_DISK, may_not_fire=True)
def test_run_may_not_come_by_the_point(world):
    world.run(nothing)


@pytest.mark.faults(FULL_DISK)
def test_run_never_comes_by_the_point_and_says_so(world):
    assert world.run(nothing).verdict is faultkit.Verdict.INERT


@pytest.mark.faults(FULL_DISK)
def test_nobody_runs_the_plan(world):
    world.run(nothing, plan=None)


@pytest.mark.faults(FULL_DISK)
def test_nobody_uses_the_faulty_writer(faulty_writer):
    assert faulty_writer.plan


@pytest.mark.faults("writer.finish@0=raise(ValueError)")
def test_the_faulty_writer_is_used_without_ranks(faulty_writer):
    with pytest.raises(ValueError, match="injected"):
        faulty_writer.finish(None, [])


@pytest.mark.faults(FULL_DISK)
def test_violation_is_told(world, checkpoint_dir):
    run = world.run(save_swallowing, checkpoint_dir)
    run.raise_for_violations()


@pytest.mark.faults(FULL_DISK)
def test_an_assertion_of_its_own_fails(world, checkpoint_dir):
    run = world.run(save, checkpoint_dir)
    assert run.outcomes[0].failures == {}


def test_an_assertion_of_its_own_fails_without_a_plan(world):
    assert world.run(int).outcomes[1].value == 7


def test_a_wrong_argument(world):
    world.run(save, 3, plan="writer.finsh=raise(OSError)")


def test_no_value(world, checkpoint_dir):
    world.run(save, checkpoint_dir, plan=FULL_DISK).outcomes[0].value  # noqa: B018


def save_swallowing(directory):
    dcp.save({"weight": torch.ones(8)}, storage_writer=Swallowing(directory))


@pytest.mark.faults("storage.finish@0=raise(KeyError)")
def test_faulty_writer_in_a_run(world, faulty_writer):
    run = world.run(lambda writer: dcp.save({"weight": torch.ones(8)}, storage_writer=writer), faulty_writer)
    assert run.outcomes[1].failures[0][0] == "KeyError"


@pytest.mark.parametrize("size", [pytest.param(6, marks=pytest.mark.world(6))])
@pytest.mark.faults("writer.write_data@5=raise(ValueError)")
def test_the_world_of_a_parameter(size, world, checkpoint_dir):
    run = world.run(save, checkpoint_dir)
    assert run.world_size == size
    run.raise_for_violations()


def test_many_runs(world):
    for _ in range(25):
        world.run(nothing)


@pytest.mark.world(4, kind="simulated", launcher="torchrun")
@pytest.mark.faults("comm.gather_object@1#1=kill(SIGKILL)")
def test_the_launcher_of_the_marker(world, checkpoint_dir):
    run = world.run(save, checkpoint_dir)
    assert "launcher" in {getattr(outcome, "by", "") for outcome in run.outcomes.values()}


WATCHED = "writer.write_data@1=delay(0)"


def save_and_leak(directory):
    threading.Thread(target=threading.Event().wait, name="forgotten", daemon=True).start()
    save(directory)


@pytest.mark.spmd
@pytest.mark.faults(WATCHED)
def test_body_leaks(checkpoint_dir):
    save_and_leak(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.faults(WATCHED, no_check="leaks")
def test_body_leaks_and_nobody_asks(checkpoint_dir):
    save_and_leak(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.world(2, allow_residue=["thread forgotten"])
@pytest.mark.faults(WATCHED, checks=["leaks", "fired"])
def test_body_leaks_what_may_stay(checkpoint_dir):
    save_and_leak(checkpoint_dir)


@pytest.mark.world(2, no_check=("leaks",))
def test_a_world_that_nobody_asks_for_leaks(world, checkpoint_dir):
    world.run(save_and_leak, checkpoint_dir).raise_for_violations()
