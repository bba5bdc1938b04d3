"""What a state of real size costs: a save with all checks, its read-back and its recording beside the plain save.

The plain one is the same save on two ranks that only torch knows, in turns; the slowest rank counts.  The checkpoint
lies in shared memory where there is room, so that no disk is waited for and faultkit's part seems large, and is removed
before the next.  The state has ``FAULTKIT_BENCHMARK_MEBIBYTES`` MiB on each of two ranks, 256 by default.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.peers import plain_save
from faultkit import World

__all__ = ["large_read_back", "large_recording", "large_save"]

Row = tuple[str, str, str, str]

TURN_COUNT = 5
SHARED_MEMORY = Path("/dev/shm")
TIMEOUT_SECONDS = 600.0


def large_save() -> Row:
    """The ranks' part, in seconds of CPU: the state told as checksums, files watched, faults looked for."""
    return _row("save with checks on, CPU", _checked, is_cpu=True, goal="; 1.3 at most")


def large_read_back() -> Row:
    """The whole call: the same, and what is stored loaded by another process and compared."""
    return _row("save, read back and judged", _read_back)


def large_recording() -> Row:
    """The whole call: the same save recorded, with the content of every write, and held to the disk."""
    return _row("save recorded and held to the disk", _recorded)


def _checked(world: World, directory: Path, mebibytes: int) -> float:
    run = world.run(plain_save.saved, str(directory), mebibytes, checkpoint_at=directory)
    run.raise_for_violations()
    return sum(outcome.value[1] for outcome in run.outcomes.values())  # type: ignore[union-attr]


def _read_back(world: World, directory: Path, mebibytes: int) -> float:
    began = time.perf_counter()
    _checked(world, directory, mebibytes)
    return time.perf_counter() - began


def _recorded(world: World, directory: Path, mebibytes: int) -> float:
    from faultkit.recording import record

    began = time.perf_counter()
    record(world, plain_save.saved, str(directory), mebibytes, root=directory)
    return time.perf_counter() - began


def _row(
    name: str, measured: Callable[[World, Path, int], float], is_cpu: bool = False, goal: str = ""
) -> Row:
    mebibytes = int(os.environ.get("FAULTKIT_BENCHMARK_MEBIBYTES", "256"))
    pairs = []
    with (
        _place(mebibytes) as place,
        plain_save.Ranks(str(place / "store"), mebibytes) as plain,
        World(plain_save.WORLD_SIZE, timeout=TIMEOUT_SECONDS) as world,
    ):
        for number in range(TURN_COUNT + 1):
            ours, theirs = place / f"ours-{number}", place / f"theirs-{number}"
            limit_seconds = plain.save(str(theirs))[is_cpu]
            shutil.rmtree(theirs)
            seconds = measured(world, ours, mebibytes)
            shutil.rmtree(ours)
            if number:  # the first ones warm up
                pairs.append((seconds, limit_seconds))
    ratios = sorted(one / other for one, other in pairs)
    ours_median, limit_median = (statistics.median(values) for values in zip(*pairs, strict=True))
    return (
        f"{name} / plain save, {mebibytes} MiB on each of 2 ranks",
        f"{ours_median:.2f} s",
        f"{limit_median:.2f} s",
        f"{statistics.median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f}{goal})",
    )


@contextlib.contextmanager
def _place(mebibytes: int) -> Iterator[Path]:
    needed = mebibytes * 5 << 20
    in_memory = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > needed
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if in_memory else None) as directory:
        yield Path(directory)
