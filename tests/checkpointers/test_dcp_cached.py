"""Cached plans: what is saved with them is what is loaded, and where the engine gives a wrong plan a plain run tells.

Ranks keep the planner's caches for one run only, so that each test begins with none.
"""

from __future__ import annotations

import pytest
import torch

from faultkit import FaultPlan, checkpointers
from faultkit.sweep import sweep
from tests.helpers.round_trips import there_and_back, values

pytestmark = pytest.mark.slow

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
STEPS = (1, 2, 3)


@pytest.mark.parametrize(
    "options",
    [
        "",
        ",earlier=3",
        ",changing=all",
        ",changing=one_rank",
        ",failed_validation=true",
        ",failed_validation=true,changing=all",
        ",planners=2",
        ",planners=2,changing=one_rank",
        ",state=nested,dedup=lowest_rank,threads=2",
    ],
)
def test_saves_and_loads_back_bit_for_bit(pair, tmp_path, options):
    run = pair.run(there_and_back, tmp_path, f"dcp-cached{options}", STEPS)
    run.raise_for_violations()
    assert values(run) == {0: (3, [], [1, 2, 3]), 1: (3, [], [1, 2, 3])}


def test_its_scenario_has_the_kind_of_state_that_earlier_saves_are_of():
    assert sweep("dcp-cached,state=shapes", world=2, kind="simulated", plans=[FaultPlan()]).totals == {
        "HELD": 1
    }


def test_every_run_begins_with_earlier_saves_of_its_own(pair, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        run = pair.run(there_and_back, tmp_path / name, "dcp-cached,earlier=2")
        assert values(run)[0] == (2, [], [1, 2])
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
            "earlier-1",
            "earlier-2",
            "step-1",
            "step-2",
        ]


@pytest.mark.skipif(VERSION not in ((2, 13), (2, 14)), reason="what torch 2.13 and 2.14 do")
def test_a_plan_that_was_refused_comes_back_where_another_rank_has_something_new(pair, tmp_path):
    run = pair.run(there_and_back, tmp_path, "dcp-cached,failed_validation=true,changing=one_rank")
    assert {str(outcome) for outcome in run.outcomes.values()} and "of two shapes invalid fill" in run.story()
    assert [violation.check for violation in run.violations] == ["recovery"]


@pytest.mark.skipif(VERSION not in ((2, 13), (2, 14)), reason="what torch 2.13 and 2.14 do")
def test_the_plan_of_one_writer_is_given_to_another(pair, tmp_path):
    pytest.importorskip("safetensors")
    run = pair.run(there_and_back, tmp_path, "dcp-cached,export=true,state=sharded")
    assert "argument of type '_StoragePrefix' is not" in run.story()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"changing": "one"}, "changing must be one of no, all, one_rank (got 'one'); did you mean 'one_rank'?"),
        ({"earlier": 9}, "earlier must be a number from 0 to 8 (got 9)"),
        ({"planners": 3}, "planners must be 1 or 2 (got 3)"),
        ({"failed_validation": True}, "failed_validation=true needs two ranks that can differ (got a world of 1)"),
        ({"export": True}, "export=true needs a state of tensors, such as state=sharded (got state=default)"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_line(monkeypatch, options, told):
    monkeypatch.setattr("faultkit.checkpointers.parts.stock_files.is_installed", lambda _: True)
    checkpointer = checkpointers.get("dcp-cached").with_options(**options)
    assert checkpointer.check(world_size=1, **checkpointer.keywords) == told
