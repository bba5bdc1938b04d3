"""Torch's `MultiProcessTestCase`: four new processes per test, one faulted save in each of three tests.

The older runner in torch's own test kit, and still the one for tests that end a process.  The seconds are
those of a whole ``pytest`` process.
"""

from __future__ import annotations

import torch.distributed as dist
from torch.testing._internal import common_distributed

from benchmarks.peers.pytest_process import run_file
from benchmarks.peers.workload import WORLD_SIZE, Fault, expect_failure, join_group

__all__ = ["TEST_COUNT", "FaultedSaves", "measure_seconds"]

TEST_COUNT = 3


class FaultedSaves(common_distributed.MultiProcessTestCase):
    """`TEST_COUNT` tests, each of which spawns its ranks and forms its group."""

    @property
    def world_size(self) -> int:
        return WORLD_SIZE

    def setUp(self) -> None:
        super().setUp()
        self._spawn_processes()

    def _save(self, fault: Fault) -> None:
        join_group(self.rank, self.file_name)
        expect_failure(fault, self.rank)
        dist.destroy_process_group()

    def test_local_plan(self) -> None:
        self._save(Fault("prepare_local_plan", 1))

    def test_write_data(self) -> None:
        self._save(Fault("write_data", 2))

    def test_write_data_future(self) -> None:
        self._save(Fault("write_data:future", 3))


def measure_seconds() -> float:
    """Seconds for `TEST_COUNT` tests; raises AssertionError with pytest's output unless all passed."""
    run = run_file(__file__)
    assert run.counts == {"passed": TEST_COUNT}, run.output
    return run.seconds


def main() -> None:
    seconds = measure_seconds()
    print(f"MultiProcessTestCase: {seconds:.2f} s for {TEST_COUNT} tests on {WORLD_SIZE} ranks")


if __name__ == "__main__":
    main()
