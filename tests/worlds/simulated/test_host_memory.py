"""The host of simulated ranks does not grow with its runs; groups are known by name to whoever asks."""

from __future__ import annotations

import ctypes
import gc
import itertools
import re
import statistics
import sys
import threading
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
import torch.distributed.checkpoint as dcp

from faultkit import World
from faultkit.report.story import render_story

pytestmark = pytest.mark.slow

WARM_UP_COUNT, RUN_COUNT = 110, 60
GROWTH_KILOBYTES_MAX = 250  # what each thread left behind made more than 500


WORK_WARM_UP_COUNT, WINDOW_COUNT, WINDOW_RUN_COUNT = 10, 3, 8
BYTES_PER_RUN_MAX, BLOCKS_PER_RUN_MAX = 1024, 64  # what C has, and what Python has of up to 512 bytes each
LEAK_BYTES = 64 << 10


@pytest.fixture(scope="module")
def wide():
    with World(16, kind="simulated") as world:
        yield world


def kilobytes(pid):
    """Anonymous memory, be it shared with the fork server or not: to touch a page for the first time adds nothing."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous: *(\d+) kB$", text, re.MULTILINE)[1])


def nothing():
    pass


def test_a_host_stays_as_large_as_it_is(wide):
    for _ in range(WARM_UP_COUNT):
        wide.run(nothing)
    pids, before = wide.pids(), kilobytes(wide.pids()[0])
    for _ in range(RUN_COUNT):
        wide.run(nothing)
    assert wide.pids() == pids
    growth = kilobytes(pids[0]) - before
    assert growth < GROWTH_KILOBYTES_MAX


def allocated():
    """What is in use in the host: bytes that C has, and blocks that Python has."""

    class Used(ctypes.Structure):
        names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
        _fields_ = [(name, ctypes.c_size_t) for name in names]

    tell = ctypes.CDLL(None).mallinfo2
    tell.restype = Used
    gc.collect()
    used = tell()
    return used.uordblks + used.hblkhd, sys.getallocatedblocks()


def growth_per_run(world, work, *args, plan=""):
    """Of both, after the first runs: the median of some windows, since what is taken once is no growth."""
    for _ in range(WORK_WARM_UP_COUNT):
        world.run(work, *args, plan=plan)
    counts, pids = [], world.pids()
    world.run(allocated)
    for window in range(WINDOW_COUNT + 1):
        for _ in range(WINDOW_RUN_COUNT if window else 0):
            world.run(work, *args, plan=plan)
        counts.append(world.run(allocated).outcomes[0].value)
    assert pids == world.pids(), "the host was replaced"
    return [
        statistics.median((now - then) / WINDOW_RUN_COUNT for then, now in itertools.pairwise(numbers))
        for numbers in zip(*counts, strict=True)
    ]


needs_mallinfo = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="this C library does not tell what is in use"
)


@pytest.fixture(scope="module")
def pair():
    with World(2, kind="simulated") as world:
        yield world


def save(directory):
    dcp.save({"weights": torch.ones(4)}, checkpoint_id=directory)


def group_and_back():
    dist.destroy_process_group(dist.new_group(list(range(dist.get_world_size()))))


def keep_for_ever():
    vars(sys).setdefault("kept_for_ever", []).append(bytearray(LEAK_BYTES))


@needs_mallinfo
@pytest.mark.parametrize("plan", ["", "writer.write_data@1=raise(OSError, ENOSPC)"], ids=["whole", "failing"])
def test_saves_leave_nothing_in_the_host(pair, tmp_path, plan):
    size, blocks = growth_per_run(pair, save, str(tmp_path), plan=plan)
    assert size < BYTES_PER_RUN_MAX and blocks < BLOCKS_PER_RUN_MAX, (size, blocks)


@needs_mallinfo
def test_groups_that_come_and_go_leave_nothing_in_the_host(wide):
    size, blocks = growth_per_run(wide, group_and_back)
    assert size < BYTES_PER_RUN_MAX and blocks < BLOCKS_PER_RUN_MAX, (size, blocks)


@needs_mallinfo
def test_what_a_run_leaves_is_counted(pair):
    size, _ = growth_per_run(pair, keep_for_ever)
    assert size > LEAK_BYTES  # of each rank


def networks():
    """How many the host has in memory: each run has one."""
    return sum(type(value).__name__ == "Network" for value in gc.get_objects())


def test_a_run_is_garbage_once_it_is_over(pair):
    counts = []
    for _ in range(2):
        for _ in range(5):
            pair.run(group_and_back)
        counts.append(pair.run(networks).outcomes[0].value)
    assert counts[1] <= counts[0]


def reduce_by_name():
    group = dist.new_group([0, 1])
    total = [functional.all_reduce(torch.ones(1), "sum", dist.group.WORLD).item()]
    if dist.get_rank() < 2:
        total.append(functional.all_reduce(torch.ones(1), "sum", group).item())
        name = group.group_name
        assert dist.distributed_c10d._resolve_process_group(name) is group
        thread = threading.Thread(
            target=lambda: total.append(functional.all_reduce(torch.ones(1), "sum", name).item())
        )
        thread.start()
        thread.join()
    dist.destroy_process_group(group)
    return total


def test_functional_collectives_find_groups_by_name_on_every_thread(wide):
    run = wide.run(reduce_by_name)
    values = [outcome.value for outcome in run.outcomes.values() if outcome.kind == "returned"]
    assert values == [[16.0, 2.0, 2.0]] * 2 + [[16.0]] * 14, render_story(run)
