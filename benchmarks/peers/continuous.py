"""Torch's `MultiProcContinuousTest`: four workers per class, sixty tests, one faulted save in each.

The fastest runner in torch's own test kit: the workers are spawned once and keep their gloo group from
test to test.  The seconds are those of a whole ``pytest`` process, its imports and the spawn included.
"""

from __future__ import annotations

from typing import Any

from torch.testing._internal import common_distributed

from benchmarks.peers.pytest_process import run_file
from benchmarks.peers.workload import WORLD_SIZE, expect_failure, fault_number

__all__ = ["TEST_COUNT", "ContinuousFaultedSaves", "measure_seconds"]

TEST_COUNT = 60


class ContinuousFaultedSaves(common_distributed.MultiProcContinuousTest):
    """`TEST_COUNT` tests, ``test_plan_00`` and on."""

    world_size = WORLD_SIZE

    @classmethod
    def backend_str(cls) -> str:
        return "gloo"

    @classmethod
    def device_type(cls) -> str:
        return "cpu"


def _test_of_plan(index: int) -> Any:
    def test(self: Any) -> None:
        expect_failure(fault_number(index), self.rank)

    return test


for _index in range(TEST_COUNT):
    setattr(ContinuousFaultedSaves, f"test_plan_{_index:02}", _test_of_plan(_index))


def measure_seconds() -> float:
    """Seconds for `TEST_COUNT` tests; raises AssertionError with pytest's output unless all passed."""
    run = run_file(__file__)
    assert run.counts == {"passed": TEST_COUNT}, run.output
    return run.seconds


def main() -> None:
    seconds = measure_seconds()
    print(f"MultiProcContinuousTest: {seconds:.2f} s for {TEST_COUNT} tests on {WORLD_SIZE} ranks")


if __name__ == "__main__":
    main()
