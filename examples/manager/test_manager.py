"""The manager under test in a suite: single faults by markers, and the whole contract in one line."""

from __future__ import annotations

import pytest

from examples.manager.mended import MANAGER, make_state, save, steps
from faultkit.testing import conformance

FULL_DISK = "fs.write@1=raise(OSError, ENOSPC)"  # on rank 1


@pytest.mark.spmd  # the body runs on every rank
@pytest.mark.world(2)
@pytest.mark.faults(FULL_DISK, raises=RuntimeError)  # on every rank
def test_a_full_disk_is_known_to_every_rank(checkpoint_dir):
    save(make_state(1, 0, 2), checkpoint_dir, 1)


@pytest.mark.spmd
@pytest.mark.world(2)
@pytest.mark.faults(FULL_DISK)
def test_a_full_disk_publishes_nothing(checkpoint_dir):
    with pytest.raises(RuntimeError):
        save(make_state(1, 0, 2), checkpoint_dir, 1)
    assert steps(checkpoint_dir) == []


test_the_manager = conformance(MANAGER, budget_seconds=30)
