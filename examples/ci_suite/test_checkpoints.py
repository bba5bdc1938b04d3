"""A suite of a project that saves by the stock engine: what must hold, and what is known not to."""

from __future__ import annotations

import pytest
import torch
import torch.distributed.checkpoint as dcp


def save(directory):
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)


@pytest.mark.spmd
@pytest.mark.world(2)
@pytest.mark.faults("writer.write_data@1=raise(OSError, ENOSPC)", raises=dcp.CheckpointException)
def test_a_full_disk_is_known_to_every_rank(checkpoint_dir):
    save(checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.world(2)
@pytest.mark.faults("writer.reset@1=raise(OSError, EIO)", raises=OSError)
def test_an_error_before_the_first_collective_is_known_to_every_rank(checkpoint_dir):
    save(checkpoint_dir)


@pytest.mark.world(2)
def test_the_plan_is_known_to_every_rank(world, checkpoint_dir):
    run = world.run(save, checkpoint_dir, plan="planner.create_local_plan@1=raise(ValueError)")
    run.raise_for_violations()
