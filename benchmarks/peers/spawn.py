"""`torch.multiprocessing.spawn`: four new interpreters, a gloo group, one faulted save, all torn down.

What most projects write for a test on several ranks.  Each rank imports torch anew, and that is nearly all
of its time.  The parent's own import of torch is not counted.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from benchmarks.peers.workload import WORLD_SIZE, Fault, expect_failure, join_group

__all__ = ["measure_seconds"]


def _rank_main(rank: int, store_path: str) -> None:
    join_group(rank, store_path)
    expect_failure(Fault("write_data", 2), rank)
    dist.destroy_process_group()


def measure_seconds() -> float:
    """Seconds from the call of spawn until all ranks have ended; raises where a rank saw anything else."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        multiprocessing.spawn(_rank_main, args=(str(Path(folder) / "store"),), nprocs=WORLD_SIZE)
        return time.perf_counter() - started


def main() -> None:
    print(f"spawn: {measure_seconds():.2f} s for one faulted save on {WORLD_SIZE} ranks")


if __name__ == "__main__":
    main()
