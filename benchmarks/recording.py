"""What recording adds to a save: the same save of two ranks, recorded and not, in turns.

The save is timed on its ranks, from before the recorder is put in place to after it is gone; the slowest rank
counts.  What the caller does before and after (reading the tree, merging, holding the operations to the disk) is
told apart from it.  The checkpoint lies in shared memory where there is any: on a disk the save waits for the disk,
and recording would seem to cost less.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import statistics
import tempfile
import time
from typing import Any

from faultkit import World

__all__ = ["recording_large", "recording_small"]

TURN_COUNT_SMALL, TURN_COUNT_LARGE = 41, 15
WARM_UP_COUNT = 3
SHARED_MEMORY = "/dev/shm"


def save(directory: str, tensor_count: int, element_count: int) -> None:
    """Save `tensor_count` tensors of float32, half of them on each of two ranks; runs on every rank."""
    import torch
    import torch.distributed.checkpoint as dcp

    state = {f"tensor_{index}": torch.ones(element_count) for index in range(tensor_count)}
    dcp.save(state, checkpoint_id=directory)


def timed(function: Any, *arguments: Any) -> float:
    """Seconds that `function` took on this rank, after all ranks have come to it."""
    import torch.distributed as dist

    dist.barrier()
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def _slowest(run: Any) -> float:
    assert all(outcome.kind == "returned" for outcome in run.outcomes.values()), run.story()
    return max(outcome.value for outcome in run.outcomes.values())


def _measure(megabytes: float, turn_count: int) -> tuple[str, str, str, str]:
    from faultkit.recording import recording

    tensor_count = 10
    element_count = int(megabytes * 1e6 / 4 / tensor_count)
    place = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    pairs, calls = [], []
    with World(2) as world, tempfile.TemporaryDirectory(dir=place) as folder:
        for number in range(turn_count + WARM_UP_COUNT):
            directory = pathlib.Path(folder, str(number))
            arguments = (str(directory), tensor_count, element_count)
            plain = _slowest(world.run(timed, save, *arguments))
            shutil.rmtree(directory)
            with recording.Spools((folder,), world.size) as spools:
                settings = spools.settings(None)
                recorded = _slowest(world.run(timed, recording._on_rank, settings, save, arguments, {}))
                spools.keep_scratches()
            shutil.rmtree(directory)
            began = time.perf_counter()
            recording.record(world, save, *arguments, root=folder)
            call = time.perf_counter() - began
            shutil.rmtree(directory)
            if number >= WARM_UP_COUNT:
                pairs.append((recorded, plain))
                calls.append(call)
    with_it, without = (statistics.median(values) for values in zip(*pairs, strict=True))
    costs = sorted(recorded / plain - 1 for recorded, plain in pairs)
    quarter = len(costs) // 4
    return (
        f"save of {megabytes:g} MB on 2 ranks, recorded / not; whole call {statistics.median(calls) * 1000:.0f} ms",
        f"{with_it * 1000:.1f} ms",
        f"{without * 1000:.1f} ms",
        f"+{statistics.median(costs):.0%} ({costs[quarter]:.0%} to {costs[-quarter - 1]:.0%})",
    )


def recording_small() -> tuple[str, str, str, str]:
    """A save of 0.1 MB: 50 % more at most."""
    return _measure(0.1, TURN_COUNT_SMALL)


def recording_large() -> tuple[str, str, str, str]:
    """A save of 27 MB: 35 % more at most."""
    return _measure(27, TURN_COUNT_LARGE)
