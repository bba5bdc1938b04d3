"""The host of simulated ranks does not grow with its runs; groups are known by name to whoever asks."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional

from faultkit import World
from faultkit.report.story import tell

WARM_UP_COUNT, RUN_COUNT = 110, 60
GROWTH_KILOBYTES_MAX = 250  # what each thread left behind made more than 500


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
    assert values == [[16.0, 2.0, 2.0]] * 2 + [[16.0]] * 14, tell(run)
