"""A rank that is killed in torch's `MultiProcContinuousTest`: seconds until the runner says so.

Rank 1 sends itself SIGKILL in the first test; the other ranks return.  The runner waits on each worker's
queue and looks whether a silent worker is alive only when that wait times out: after a quarter of the
test's time limit of 300 s.  It then skips all further tests of the class, which is counted here, too.  As
this takes more than a minute, ``main`` does it only when asked: ``--measure``.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
from typing import NamedTuple

from torch.testing._internal import common_distributed

from benchmarks.peers.pytest_process import run_file
from benchmarks.peers.workload import WORLD_SIZE

__all__ = ["Death", "DyingRank", "measure"]


class DyingRank(common_distributed.MultiProcContinuousTest):
    """One test in which a rank dies, and one after it that has nothing wrong."""

    world_size = WORLD_SIZE

    @classmethod
    def backend_str(cls) -> str:
        return "gloo"

    @classmethod
    def device_type(cls) -> str:
        return "cpu"

    def test_a_rank_dies(self) -> None:
        if self.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def test_b_comes_after(self) -> None:
        pass


class Death(NamedTuple):
    """`noticed_seconds` from the test's start to its failure; `skipped_tests` that never ran for it."""

    noticed_seconds: float
    skipped_tests: int


def measure() -> Death:
    """Let the rank die; raises AssertionError where the runner took the death for a success."""
    run = run_file(__file__, "--durations=0")
    assert run.counts.get("failed") == 1, run.output
    assert f"Exited with -{signal.SIGKILL.value}" in run.output, run.output
    (noticed,) = re.findall(r"([\d.]+)s call\s.*test_a_rank_dies", run.output)
    return Death(float(noticed), run.counts.get("skipped", 0))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time until a killed rank is noticed.")
    parser.add_argument("--measure", action="store_true", help="really do it; takes more than a minute")
    if not parser.parse_args().measure:
        parser.error("this takes more than a minute; say --measure to do it")
    death = measure()
    print(
        f"MultiProcContinuousTest: a killed rank was noticed after {death.noticed_seconds:.1f} s, "
        f"{death.skipped_tests} further test skipped"
    )


if __name__ == "__main__":
    main()
