"""Groups that the code under test keeps live as long as its process; the others end before the next run."""

from __future__ import annotations

import gc

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from faultkit import Verdict
from faultkit.scenarios import ScenarioError, of_function
from faultkit.sweep import sweep

KEPT = {}


def group_count():
    return len(dist.distributed_c10d._world.pg_map)


def use_a_kept_group():
    """As DeepSpeed does: made once, kept in a module, and asked for its ranks ever after."""
    if "group" not in KEPT:
        KEPT["group"] = dist.new_group([0, 1])
    value = torch.ones(1)
    dist.all_reduce(value, group=KEPT["group"])
    return int(value), dist.get_rank(KEPT["group"]), dist.get_process_group_ranks(KEPT["group"])


def use_a_kept_mesh():
    if "mesh" not in KEPT:
        KEPT["mesh"] = init_device_mesh("cpu", (1, 2), mesh_dim_names=("replicate", "shard"))
    value = torch.ones(1)
    dist.all_reduce(value, group=KEPT["mesh"].get_group("shard"))
    return int(value), dist.get_rank(KEPT["mesh"].get_group("shard"))


def make_a_group_and_a_cycle_that_holds_it():
    before = group_count()
    cycle = [dist.new_group([0, 1])]
    cycle.append(cycle)
    dist.barrier(group=cycle[0])
    return before


def forget():
    KEPT.clear()
    return group_count()


@pytest.mark.parametrize(
    ("use", "values"),
    [(use_a_kept_group, [(2, 0, [0, 1]), (2, 1, [0, 1])]), (use_a_kept_mesh, [(2, 0), (2, 1)])],
)
def test_a_group_that_is_kept_can_be_used_in_the_next_run_of_the_same_ranks(pair, use, values):
    pids = None
    for _ in range(3):
        run = pair.run(use)
        assert run.verdict is Verdict.HELD, run.story()
        assert [outcome.value for outcome in run.outcomes.values()] == values
        assert pids in (None, pair.pids())
        pids = pair.pids()
    pair.run(forget)


def test_a_group_that_nobody_keeps_has_ended_when_the_next_run_begins(pair):
    for _ in range(3):
        run = pair.run(make_a_group_and_a_cycle_that_holds_it)
        assert [outcome.value for outcome in run.outcomes.values()] == [1, 1]


def collections_with_a_kept_mesh():
    use_a_kept_mesh()
    return gc.get_stats()[2]["collections"]


def test_a_group_that_stays_kept_costs_no_look_for_cycles_in_each_run(pair):
    pair.run(collections_with_a_kept_mesh)
    counts = [pair.run(collections_with_a_kept_mesh).outcomes[0].value for _ in range(8)]
    assert counts[-1] - counts[1] < 4
    pair.run(forget)


def keep_the_name_of_a_group():
    if "name" not in KEPT:
        KEPT["name"] = dist.new_group([0, 1]).group_name
    dist.distributed_c10d._resolve_process_group(KEPT["name"])


def test_who_keeps_what_cannot_stay_is_told_what_does_without():
    with pytest.raises(ScenarioError, match=r"it keeps something, such as a process group, .* --kind fresh"):
        sweep(of_function(keep_the_name_of_a_group), world=2, plans=None, points=["fs.open"])
