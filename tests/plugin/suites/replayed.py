"""Tests that are run under a plan, a kind of world and a time limit that the options of the session give."""

import time

import pytest
import torch
import torch.distributed.checkpoint as dcp


def save(directory):
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)


@pytest.mark.world(2, kind="warm", timeout=30)
@pytest.mark.faults("writer.finish@0=raise(ValueError)", "writer.finish@0=raise(KeyError)")
def test_replayed(world, plan, checkpoint_dir):
    run = world.run(save, checkpoint_dir)
    assert world.kind == run.kind == "fresh" and run.plan == plan
    assert [str(fired.fault) for fired in run.fired] == ["writer.write_data@1=raise(OSError, ENOSPC)"]
    assert sorted(run.outcomes[0].failures) == [1]


@pytest.mark.spmd
@pytest.mark.world(2)
@pytest.mark.faults("writer.finish@0=raise(ValueError)", raises=dcp.CheckpointException)
def test_the_replayed_plan_need_not_raise(checkpoint_dir):
    with pytest.raises(dcp.CheckpointException) as caught:
        save(checkpoint_dir)
    assert sorted(caught.value.failures) == [1]


@pytest.mark.spmd
@pytest.mark.world(2)
@pytest.mark.faults("writer.finish@0=raise(ValueError)", raises=dcp.CheckpointException)
def test_the_replayed_plan_may_raise(checkpoint_dir):
    save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.world(2)
def test_the_replayed_plan_leaves_the_body(checkpoint_dir):
    save(checkpoint_dir)
    raise NotImplementedError("it never comes here")


@pytest.mark.spmd
@pytest.mark.world(2, timeout=30)
def test_too_slow(checkpoint_dir):
    with pytest.raises(dcp.CheckpointException):
        save(checkpoint_dir)
    time.sleep(30)


@pytest.mark.spmd
@pytest.mark.world(1)
def test_too_small():
    pass


def test_without_a_marker(world, plan, checkpoint_dir):
    assert not plan and not world.run(save, checkpoint_dir).plan


def test_with_a_directory_alone(checkpoint_dir):
    assert checkpoint_dir.is_dir()
