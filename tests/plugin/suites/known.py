"""Tests that violations of the stock engine end: of bodies on ranks, of runs, of several; and some that hold."""

import pytest
import torch
import torch.distributed.checkpoint as dcp

from faultkit import World

RESET = "writer.reset@1=raise(ValueError)"


def save(directory):
    dcp.save({"weight": torch.ones(4)}, checkpoint_id=directory)


@pytest.mark.spmd
@pytest.mark.world(2, kind="simulated")
@pytest.mark.faults(RESET, raises=ValueError)
def test_a_body_that_hangs(checkpoint_dir):
    save(checkpoint_dir)


@pytest.mark.world(2, kind="simulated")
@pytest.mark.faults(RESET)
def test_a_run_that_hangs(world, checkpoint_dir):
    world.run(save, checkpoint_dir).raise_for_violations()
    raise RuntimeError("what stands behind it never ran")


def test_a_world_of_ones_own(tmp_path):
    with World(2, kind="simulated") as world:
        world.run(save, tmp_path, plan=RESET).raise_for_violations()


@pytest.mark.world(2, kind="simulated")
@pytest.mark.faults(RESET)
def test_an_assertion_of_its_own_beside_it(world, checkpoint_dir):
    run = world.run(save, checkpoint_dir)
    assert run.verdict == "HELD"


@pytest.mark.world(2, kind="simulated")
@pytest.mark.faults("fs.init_path@1=raise(OSError, EIO)")
def test_another_place(world, checkpoint_dir):
    world.run(save, checkpoint_dir).raise_for_violations()


@pytest.mark.world(2, kind="simulated")
@pytest.mark.faults("writer.finish@0=raise(ValueError)")
def test_one_that_holds(world, checkpoint_dir):
    world.run(save, checkpoint_dir).raise_for_violations()


@pytest.mark.spmd
@pytest.mark.world(2, kind="simulated")
@pytest.mark.faults("comm.broadcast_object@0=raise(ValueError)", raises=ValueError)
def test_a_second_known_one(checkpoint_dir):
    save(checkpoint_dir)
