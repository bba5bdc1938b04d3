"""Pairs of faults: each two places once, and ranks and actions by turns; and faults at some calls alone."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import PlanError
from faultkit.plan.grammar import read_action
from faultkit.scenarios import of_function
from faultkit.sweep import Reachability, Target, sweep
from faultkit.sweep.reachability import pairs_for, plans_for
from faultkit.sweep.replay_input import read_replay_input

PLACES = [("writer.reset", "before"), ("writer.write_data", "before"), ("writer.write_data", "future"),
          ("planner.create_local_plan", "before")]  # fmt: skip


def reach(ranks=3):
    return Reachability(tuple(Target(*place, rank) for place in PLACES for rank in range(ranks)), ())


ACTIONS = tuple(map(read_action, ("raise(ValueError)", "kill", "delay(0.05)")))


def test_each_two_places_break_together_once():
    plans = pairs_for(reach(), ACTIONS)
    pairs = [tuple((fault.site, fault.moment) for fault in plan) for plan in plans]
    assert pairs == list(itertools.combinations(PLACES, 2))


def test_ranks_and_actions_meet_each_other_and_the_places_by_turns():
    wide = Reachability(
        tuple(Target(f"planner.{name}", "before", rank) for name in
              "set_up_planner create_local_plan finish_plan resolve_data create_global_plan".split()
              for rank in range(2)), ())  # fmt: skip
    plans = pairs_for(wide, ACTIONS[:2])
    assert len(plans) == 10
    ranks = {tuple(fault.ranks for fault in plan) for plan in plans}
    actions = {tuple(fault.action for fault in plan) for plan in plans}
    assert ranks == set(itertools.product("01", repeat=2))
    assert actions == set(itertools.product(ACTIONS[:2], repeat=2))


def test_an_action_that_a_place_cannot_have_is_in_no_pair():
    plans = pairs_for(reach(1), (read_action("shorten"),))
    sites = {(fault.site, fault.moment) for plan in plans for fault in plan}
    assert sites == {("writer.write_data", "before"), ("planner.create_local_plan", "before")}


def test_faults_strike_at_the_calls_that_are_asked_for():
    plans = plans_for(reach(1), (), "2-3")
    assert {plan.faults[0].calls for plan in plans} == {"2-3"}
    assert {fault.calls for plan in pairs_for(reach(1), (), "1") for fault in plan} == {"1"}
    assert {plan.faults[0].calls for plan in plans_for(reach(1), ())} == {"1-"}


@pytest.mark.slow
def test_a_sweep_breaks_two_places_at_a_time_each_once():
    journal = sweep(
        "dcp-save",
        world=2,
        kind="simulated",
        points=("planner.create_local_plan", "writer.prepare_local_plan", "writer.finish"),
        pairs=True,
        calls="1",
    )
    assert len(journal.results) == 3
    assert all(len(result.plan) == 2 and result.fired for result in journal.results)
    assert all(fault.calls == "1" for result in journal.results for fault in result.plan)
    assert journal.totals == {"HELD": 3}


@pytest.mark.slow
def test_a_sweep_does_it_again_without_a_fault_and_its_replay_does_too(tmp_path):
    journal = sweep(
        "dcp-save",
        world=2,
        kind="simulated",
        points=("writer.write_data",),
        moments=("before",),
        attempts_after=1,
    )
    assert journal.totals == {"HELD": 2}
    again = sweep(stuck_in_its_ways, world=2, kind="simulated", points=("writer.write_data",),
                  moments=("before",), attempts_after=1)  # fmt: skip
    assert again.totals == {"UNUSABLE": 2}
    assert "--attempts-after 1" in again.replay_command(again.results[0])
    assert json.loads(again.to_json())["attempts_after"] == 1
    (tmp_path / "journal.json").write_text(again.to_json())
    assert read_replay_input(str(tmp_path / "journal.json")).attempts_after == 1


def save_unless_it_failed(directory):
    """A job that never saves again once a save of it has failed."""
    mark = directory / f"failed{dist.get_rank()}"
    if mark.exists():
        raise RuntimeError("it failed before")
    try:
        dcp.save({"weight": torch.ones(3)}, checkpoint_id=directory / "checkpoint")
    except dcp.CheckpointException:
        mark.touch()
        raise


stuck_in_its_ways = of_function(save_unless_it_failed)


def test_calls_that_are_none_are_told_before_anything_starts():
    with pytest.raises(PlanError, match="a call"):
        sweep("dcp-save", calls="0")
