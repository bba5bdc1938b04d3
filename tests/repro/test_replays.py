"""``faultkit replay`` comes to the verdict that the run came to, for each verdict that there is."""

from __future__ import annotations

import json
import shlex

import pytest

from faultkit import Verdict, World, checks, scenarios
from faultkit.cli import main
from faultkit.repro.replays import command_for
from faultkit.scenarios import Stage
from tests.helpers.replayed_engines import CASES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_ranks():
    with World(2) as world:
        yield world


def test_every_verdict_that_a_check_can_give_has_a_case():
    given = {verdict for check in checks.CATALOGUE.values() for verdict in check.verdicts}
    assert set(CASES) == {*given, Verdict.HELD}


@pytest.mark.parametrize("verdict", CASES)
def test_the_replay_of_a_run_has_its_verdict(two_ranks, capsys, verdict):
    scenario, plan = CASES[verdict]
    with Stage(scenarios.get(scenario)) as stage:
        run = stage.run(two_ranks, plan)
    assert run.verdict == verdict, run.story()
    program, *arguments = shlex.split(command_for(run, scenario))
    assert program == "faultkit"
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json", "-"])
    captured = capsys.readouterr()
    [again] = json.loads(captured.out)["plans"]
    assert (again["plan"], again["verdict"]) == (plan, verdict), captured.err
    assert {v["check"] for v in again["violations"]} == {v.check for v in run.violations}
    kinds = {int(rank): note["kind"] for rank, note in again["outcomes"].items()}
    assert kinds == {rank: outcome.kind for rank, outcome in run.outcomes.items()}
    assert ended.value.code == (0 if verdict == "HELD" else 1)
    assert captured.err.count(f"{verdict}: ") >= 1
