"""The suite of the manager: one failure by name, what a crash leaves, whole lives, and promise by promise."""

import holds
import pytest
import torch.distributed as dist
from hypothesis import settings

from faultkit import strategies, testing


@pytest.mark.spmd
@pytest.mark.world(2)
@pytest.mark.faults("fs.write@0=raise(OSError, ENOSPC)", raises=RuntimeError)
def test_a_full_disk_is_known_to_every_rank(checkpoint_dir):
    holds.save(holds.make_state(1, dist.get_rank(), 2), checkpoint_dir, 1)


@pytest.mark.crash(holds.MANAGER)
def test_a_crash_costs_nothing(crash_states):
    crash_states().raise_for_violations()


TestLives = strategies.checkpoint_history(holds.MANAGER).TestCase
TestLives.settings = settings(TestLives.settings, max_examples=10)

test_holds = testing.conformance(
    holds.MANAGER,
    budget_seconds=20,
    promises=["round-trip", "ranks-learn", "crash", "resharding", "fallback"],
)
