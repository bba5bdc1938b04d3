"""Where the newest checkpoint is damaged, all ranks come back to the same older one, and a prune leaves it there."""

from __future__ import annotations

import json

import pytest

from faultkit import World, fallback
from faultkit.cli import main
from faultkit.exceptions import ScenarioError
from faultkit.scenarios.derived import PRELOADED
from tests.helpers import falling_back
from tests.helpers.falling_back import DEFECTS_OF_A_LOAD, DEFECTS_OF_A_PRUNE, FALLING_BACK

pytestmark = pytest.mark.slow

HERE = f"{falling_back.__name__}:FALLING_BACK"


@pytest.fixture(scope="module")
def two_ranks():
    with World(2, preload=(*PRELOADED, falling_back.__name__, "faultkit.history.ranks")) as world:
        yield world


@pytest.mark.parametrize("defect", DEFECTS_OF_A_LOAD)
def test_ranks_that_do_not_come_back_together_are_found(two_ranks, defect):
    found = fallback.survey(
        FALLING_BACK.with_options(defect=defect), world=two_ranks, actions=("delete",), samples=1
    )
    [violation, *_] = found.violations
    assert (str(violation.verdict), violation.check) == (DEFECTS_OF_A_LOAD[defect], "fallback")
    assert violation.evidence.startswith("delete step-3/rank-") and "no fault" not in violation.evidence
    assert found.verdict == DEFECTS_OF_A_LOAD[defect] and not found.held
    with pytest.raises(AssertionError, match=DEFECTS_OF_A_LOAD[defect]):
        found.raise_for_violations()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_twin_comes_back_to_the_one_before_on_every_rank(two_ranks, seed):
    found = fallback.survey(FALLING_BACK, world=two_ranks, samples=1, seed=seed)
    found.raise_for_violations()
    assert set(found.totals) == {"older"} and {case.action for case in found.cases} >= {"flip", "incomplete"}
    assert all(set(case.restart.ranks.values()) == {"step 2"} for case in found.cases)


@pytest.mark.parametrize("defect", DEFECTS_OF_A_PRUNE)
def test_a_prune_that_removes_what_a_job_would_come_back_to_is_found(two_ranks, defect):
    found = fallback.survey(
        FALLING_BACK.with_options(defect=defect),
        work="prune",
        world=two_ranks,
        actions=("delete",),
        samples=1,
    )
    [violation] = found.violations
    assert (str(violation.verdict), violation.check) == ("LOST_WORK", "prune")
    first = "nothing is damaged, two are kept" if defect == "keeps_one_less" else "delete step-3/rank-"
    assert violation.evidence.startswith(first) and "must come back to save 2" in violation.evidence


def test_the_twin_prunes_what_nobody_needs(two_ranks):
    found = fallback.survey(
        FALLING_BACK, work="prune", world=two_ranks, actions=("delete", "truncate", "incomplete"), samples=1
    )
    found.raise_for_violations()
    assert found.totals == {"newest": 2, "older": len(found.cases) - 2}


def test_damage_that_the_load_itself_takes_for_good_is_not_held_against_a_prune(two_ranks):
    found = fallback.survey(
        FALLING_BACK.with_options(defect="takes_anything"), work="prune", world=two_ranks, actions=("delete",)
    )
    assert found.held


def test_the_command_exits_with_1_and_writes_every_case_and_with_0_where_it_is_known(capsys, tmp_path):
    arguments = ("--actions", "delete", "--samples", "1", "--json", "-")
    known = str(tmp_path / "known.toml")
    with pytest.raises(SystemExit) as ended:
        main(["damage", f"{HERE}.fallback,defect=raises_alone", *arguments, "--write-known", known])
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert ended.value.code == 1 and set(found["totals"]) == {"PARTIAL"}
    assert found["cases"][0]["ranks"] == {"0": "raised ValueError", "1": "step 3"}
    assert "PARTIAL (fallback): delete step-3/rank-0.json" in printed.err
    with pytest.raises(SystemExit) as ended:
        main(["damage", f"{HERE}.fallback,defect=raises_alone", *arguments, "--known", known])
    assert ended.value.code == 0
    assert {case["violation"]["known"] for case in json.loads(capsys.readouterr().out)["cases"]} == {
        "partial-some-ranks-go-on-while-others-refuse"
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["damage", "dcp.fallback", "--actions", "melt"], "no action matches 'melt'"),
        (["damage", "dcpp.fallback"], "unknown checkpointer 'dcpp'"),
        (["damage", "dcp-fsspec-memory.prune"], "has no scenario 'prune'"),
        (["damage", "dcp.fallback", "--report", "found.html"], "--report has no page of a fallback"),
    ],
)
def test_bad_usage_is_one_line(capsys, arguments, words):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and words in told and told.count("\n") == 1


def test_what_is_no_checkpointer_is_refused():
    with pytest.raises(ScenarioError, match="unknown checkpointer 'dcp-save'"):
        fallback.survey("dcp-save")
    with pytest.raises(ScenarioError, match="is no checkpointer"):
        fallback.survey(print)
    with pytest.raises(ValueError, match="work must be one of fallback, prune"):
        fallback.survey(FALLING_BACK, work="load")
