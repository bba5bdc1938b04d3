"""What the engine keeps for a process is that of a fresh one in each run, and each simulated rank has its own."""

from __future__ import annotations

import copyreg

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import planner, state_dict
from torch.distributed.checkpoint.planner import SavePlanner

from faultkit import World
from faultkit.worlds import engine_state

CACHES = [name for name in vars(SavePlanner) if name.startswith("_cached_")]


def caches():
    return {name: len(getattr(SavePlanner, name)) for name in CACHES}


def save_with_cached_plans(directory, count=1):
    before = caches()
    for step in range(count):
        # one key for each rank, so that a plan that another rank has cached is no plan of this one
        state = {f"rank {dist.get_rank()}": torch.full((4,), float(step))}
        cached = dcp.DefaultSavePlanner(enable_plan_caching=True)
        dcp.save(state, checkpoint_id=directory / str(step), planner=cached)
    return before, caches()


@pytest.mark.parametrize("kind", ["warm", "simulated"])
def test_each_run_finds_the_caches_of_the_engine_empty_and_the_next_save_of_one_run_does_not(tmp_path, kind):
    assert CACHES, "the engine has other names for them: look at this test"
    with World(2, kind=kind) as world:
        pids = None
        for number in range(2):
            run = world.run(
                save_with_cached_plans, tmp_path / str(number), 2, checkpoint_at=tmp_path / str(number)
            )
            run.raise_for_violations()
            for outcome in run.outcomes.values():
                before, after = outcome.value
                assert not any(before.values()) and any(after.values())
            assert pids in (None, world.pids()), "the ranks were replaced: nothing is shown"
            pids = world.pids()


def test_each_simulated_rank_has_caches_of_its_own(tmp_path):
    with World(3, kind="simulated") as world:
        run = world.run(save_with_cached_plans, tmp_path, 2, seed=3, checkpoint_at=tmp_path)
    run.raise_for_violations()
    after = [outcome.value[1] for outcome in run.outcomes.values()]
    assert [one["_cached_save_plan"] for one in after] == [1, 1, 1]
    assert [bool(one["_cached_metadata"]) for one in after] == [True, False, False]  # rank 0 coordinates


def test_a_container_that_was_replaced_or_filled_is_as_before_and_what_others_own_is_left_alone(monkeypatch):
    for name in ("_module_count", "_seen", "_places", "_empty"):
        kind = type(getattr(engine_state, name))
        monkeypatch.setattr(engine_state, name, kind())
    engine_state.put_back()
    cache, patched = SavePlanner._cached_save_plan, state_dict._patched_state_dict
    cache["key"] = planner.SavePlan([])
    patched.add(print)
    SavePlanner._cached_metadata = {"key": None}
    copyreg.dispatch_table[_Own] = _Own.reduce
    try:
        engine_state.put_back()
        assert SavePlanner._cached_save_plan is cache and cache == {} and SavePlanner._cached_metadata == {}
        assert state_dict._patched_state_dict is patched and print not in patched
        assert _Own in copyreg.dispatch_table
    finally:
        del copyreg.dispatch_table[_Own]


class _Own:
    def reduce(self):
        return _Own, ()
