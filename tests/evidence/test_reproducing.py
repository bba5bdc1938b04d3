"""From evidence to the plan that gives the same picture, on the real engine, and back again."""

from __future__ import annotations

import json

import pytest

from faultkit import FaultPlan, World
from faultkit.cli import main
from faultkit.evidence import read, tell
from faultkit.evidence.candidates import candidates_for, scenario_for
from faultkit.evidence.mapping import mapped
from faultkit.evidence.pictures import likeness, picture_of_evidence, picture_of_run
from faultkit.evidence.rendering import masked
from faultkit.evidence.writing import write
from faultkit.scenarios import Stage, get
from tests.helpers.explorer_data import data_of
from tests.helpers.left_behind import FULL_DISK, LOST, OWN, SUMMARY, labelled

PLANS = [
    "writer.write_data@2=raise(OSError, ENOSPC)",
    "writer.write_data:future@1=raise(ValueError)",
    "planner.create_local_plan@3=raise(ValueError)",
    "planner.resolve_data@0=raise(ValueError)",
    "writer.finish@0=raise(OSError, EIO)",
    "app.state_dict@1=raise(ValueError)",
    "writer.reset@1=raise(ValueError)",
    "planner.create_local_plan@2=kill(SIGKILL)",
    "writer.write_data@3=kill(SIGKILL)",
    "writer.write_data@1=hang",
]


@pytest.fixture(scope="module")
def bench():
    """Four simulated ranks that save."""
    with World(4, kind="simulated", launcher="none", timeout=20) as world, Stage(get("dcp-save")) as stage:
        yield lambda plan: stage.run(world, plan, may_not_fire=True)


@pytest.mark.parametrize("plan", PLANS)
def test_what_a_plan_leaves_leads_back_to_its_picture(bench, tmp_path, plan):
    run = bench(plan)
    write(run, tmp_path / "left")
    told = tell(read(tmp_path / "left"))
    assert told.suspects == (int(plan.partition("@")[2][0]),)
    picture = picture_of_evidence(told.evidence)
    tried = [bench(candidate.plan) for candidate in candidates_for(told)]
    best = max(tried, key=lambda again: likeness(picture, picture_of_run(again)))
    assert best.verdict == run.verdict and picture_of_run(best) == picture_of_run(run)


def test_a_picture_of_another_failure_is_not_alike(bench, tmp_path):
    write(bench(PLANS[0]), tmp_path / "left")
    picture = picture_of_evidence(read(tmp_path / "left"))
    assert likeness(picture, picture_of_run(bench(PLANS[0]))) == 1.0
    for other in (PLANS[5], PLANS[7], PLANS[9], "writer.write_data@1=raise(OSError, ENOSPC)"):
        assert likeness(picture, picture_of_run(bench(other))) < 0.75


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        (labelled(dict.fromkeys(range(4), FULL_DISK)), "writer.write_data@2=raise(OSError, ENOSPC)"),
        (labelled({0: LOST, 1: OWN, 2: LOST, 3: LOST}),
         'app.state_dict@1=raise(RuntimeError, "optimizer state for group 1 is missing")'),
        (labelled({0: LOST, 2: LOST}) + SUMMARY, "planner.create_local_plan@3=kill(SIGKILL)"),
    ],
)  # fmt: skip
def test_the_first_candidate_is_the_right_rank_step_and_kind(tmp_path, text, plan):
    (tmp_path / "console.log").write_text(text)
    told = tell(read(tmp_path))
    assert scenario_for(told) == "dcp-save"
    assert str(candidates_for(told)[0].plan) == plan


def test_a_large_job_is_mapped_to_a_few_ranks_and_told_in_its_own_numbers():
    mapping = mapped(512, [300])
    assert mapping.ranks == (0, 1, 2, 300)
    assert str(mapping.to_small(FaultPlan.parse("writer.write_data@300=kill(SIGKILL)"))) == str(
        FaultPlan.parse("writer.write_data@3=kill(SIGKILL)")
    )


def test_secrets_are_masked():
    text = "token=abcdefghijkl and AKIAABCDEFGHIJKLMNOP, password: hunter2hunter2"
    assert masked(text) == "token=*** and ***, password: ***"


@pytest.mark.slow
def test_the_command_tells_where_it_began_and_gives_the_plan(tmp_path, capsys):
    (tmp_path / "console.log").write_text(labelled({0: LOST, 1: OWN, 2: LOST, 3: LOST}))
    with pytest.raises(SystemExit) as ended:
        main(
            ["reproduce", str(tmp_path / "console.log"), "--json", str(tmp_path / "found.json"),
             "--report", str(tmp_path / "found.html")]
        )  # fmt: skip
    shown = data_of((tmp_path / "found.html").read_text())["items"]
    assert shown[0]["word"] == "left" and len(shown) > 1
    out = capsys.readouterr().out
    assert ended.value.code == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["suspects"], found["first"]["type"]) == ([1], "RuntimeError")
    assert found["best"].startswith("app.state_dict@1=raise(RuntimeError")
    assert {"plan", "likeness", "verdict", "why"} <= set(found["candidates"][0])
    assert found["ranks"]["0"]["waiting"] == "gather_object"
    assert "it began on rank 1" in out and "faultkit replay" in out


def test_what_is_no_evidence_is_one_line_and_status_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", str(tmp_path / "nothing")])
    assert ended.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
