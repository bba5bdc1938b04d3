"""The built-in scenarios hold on worlds of any size, also where there are more ranks than rows to share."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from faultkit import Verdict, World, scenarios
from faultkit.report.page import as_html
from faultkit.report.terminal import print_journal
from faultkit.scale.work import SAVE
from faultkit.scenarios import Stage
from faultkit.sweep import representatives, sweep

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["dcp-save", "dcp-load"])
@pytest.mark.parametrize("size", [8, 23])
def test_a_scenario_holds_without_a_fault(name, size):
    scenario = scenarios.get(name)
    with Stage(scenario) as stage, World(size, kind="simulated", preload=scenario.preload) as world:
        run = stage.run(world)
    assert run.verdict is Verdict.HELD, run.story()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_failing_save_of_a_thousand_ranks_is_known_to_all_of_them():
    scenario = scenarios.get("dcp-save")
    with (
        Stage(scenario) as stage,
        World(1024, kind="simulated", timeout=800, preload=scenario.preload) as world,
    ):
        run = stage.run(world, "writer.write_data@5=raise(ValueError)")
    assert run.verdict is Verdict.HELD, run.story()
    assert {outcome.kind for outcome in run.outcomes.values()} == {"raised"}


def test_four_ranks_stand_for_a_wide_world(monkeypatch):
    monkeypatch.setattr("faultkit.sweep.WIDE_SIZE_MIN", 8)
    monkeypatch.setattr("faultkit.report.matrix.RANK_COUNT_MAX", 7)
    journal = sweep(SAVE, world=8, kind="simulated", points=("writer.reset",), actions=("delay(0.01)",))
    assert [str(result.plan) for result in journal.results] == [
        f"writer.reset@{rank}=delay(0.01)" for rank in (0, 1, 4, 7)
    ]
    assert journal.left_out_count == 4
    console = Console(width=80, file=io.StringIO())
    print_journal(journal, console)
    printed = console.file.getvalue()
    assert "these ranks stand for 4 more" in printed
    assert printed.count("injected at") == 1
    assert "These ranks stand for 4 more" in as_html(journal)
    assert representatives(2) == (0, 1)
