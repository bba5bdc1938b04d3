"""The limit for large states: the same save on two ranks that only torch knows, kept between saves.

``python -m benchmarks.peers.plain_save RANK STORE MEBIBYTES`` is one rank; it reads directories from its input and
answers each with the seconds that the save to it took, and those of CPU.  `Ranks` has both.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

__all__ = ["Ranks", "saved"]

WORLD_SIZE = 2
TENSOR_COUNT = 16  # on each rank


def saved(directory: str, mebibytes: int) -> tuple[float, float]:
    """Save so much on this rank; the seconds that it took, after all ranks have come to it, and those of its CPU."""
    import torch
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    rank, count = dist.get_rank(), mebibytes * (1 << 18) // TENSOR_COUNT
    state = {
        f"tensor {number} of rank {rank}": torch.full((count,), number + 0.5)
        for number in range(TENSOR_COUNT)
    }
    dist.barrier()
    began, cpu = time.perf_counter(), time.process_time()
    dcp.save(state, checkpoint_id=directory)
    return time.perf_counter() - began, time.process_time() - cpu


class Ranks:
    """Two ranks, for the length of a block."""

    def __init__(self, store: str, mebibytes: int) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.peers.plain_save", str(rank), store, str(mebibytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(WORLD_SIZE)
        ]

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.communicate(timeout=60)

    def save(self, directory: str) -> tuple[float, float]:
        """Seconds that the slowest rank took, and those of CPU of both."""
        pipes: list[tuple[Any, Any]] = [(one.stdin, one.stdout) for one in self._processes]
        for given, _ in pipes:
            given.write(f"{directory}\n")
            given.flush()
        seconds = [tuple(map(float, told.readline().split())) for _, told in pipes]
        return max(wall for wall, _ in seconds), sum(cpu for _, cpu in seconds)


def main() -> None:
    import torch.distributed as dist

    rank, store, mebibytes = sys.argv[1:]
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=WORLD_SIZE)
    for line in sys.stdin:
        print(*saved(line.rstrip("\n"), int(mebibytes)), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
