"""Torch's threaded process group: one faulted save on ranks that are threads of one process.

`MultiThreadedTestCase` and `spawn_threads_and_init_comms` of torch's own test kit stand on it.  The seconds are
those of starting the threads, forming the group and one save of `benchmarks.peers.workload`, after the first time.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.peers.workload import Fault, expect_failure

__all__ = ["measure_seconds"]

TIMES = 3


def measure_seconds(world_size: int) -> float:
    """The median of `TIMES` saves on that many threads, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.peers.threaded_group", str(world_size)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout.split()[-1])


def main() -> None:
    import torch
    import torch.distributed as dist
    from torch.testing._internal import common_distributed

    torch.set_num_threads(1)
    world_size = int(sys.argv[1])
    taken = []

    @common_distributed.spawn_threads_and_init_comms(world_size=world_size)
    def save(self: object) -> None:
        expect_failure(Fault("write_data", 1), dist.get_rank())

    for _ in range(TIMES + 1):
        began = time.perf_counter()
        save(None)
        taken.append(time.perf_counter() - began)
    print(statistics.median(taken[1:]))


if __name__ == "__main__":
    main()
