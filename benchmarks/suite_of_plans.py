"""60 plans as 60 tests with faultkit's plugin: the counterpart of `benchmarks.peers.continuous`.

Run with ``python -m pytest benchmarks/suite_of_plans.py``; it is not collected with the test suite.
"""

import pytest

from benchmarks.workload import plan_number, save

PLAN_COUNT = 60


@pytest.mark.spmd
@pytest.mark.world(4)
@pytest.mark.faults(*(str(plan_number(index)) for index in range(15)))
@pytest.mark.parametrize("turn", range(PLAN_COUNT // 15))
def test_the_failure_reaches_every_rank(turn):
    from torch.distributed.checkpoint import CheckpointException  # on the ranks alone

    with pytest.raises(CheckpointException):
        save()
