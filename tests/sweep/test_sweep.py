"""A sweep of the stock engine on two ranks, and sweeps that cannot be."""

from __future__ import annotations

import json
import os

import pytest

from faultkit import FaultPlan, PlanError, Verdict
from faultkit.interception import shim
from faultkit.scenarios import ScenarioError, of_function
from faultkit.sweep import sweep

pytestmark = pytest.mark.slow

POINTS = ("writer.reset", "writer.write_data", "writer.finish", "writer.validate_checkpoint_id")


def lose_heart(directory):
    raise RuntimeError("not today")


def touch_no_storage():
    pass


@pytest.fixture(scope="module")
def progress():
    return []


@pytest.fixture(scope="module")
def journal(progress):
    def note(so_far):
        progress.append((so_far.done_count, so_far.planned_count, len(so_far.journal().results)))

    return sweep("dcp-save", world=2, points=POINTS, on_progress=note)


def verdicts(journal):
    return {str(result.plan): result.verdict for result in journal.results}


def test_one_plan_for_each_place_on_each_rank_that_comes_by_it(journal):
    assert list(verdicts(journal)) == [
        "writer.reset@0=raise(ValueError)",
        "writer.reset@1=raise(ValueError)",
        "writer.write_data@0=raise(ValueError)",
        "writer.write_data@1=raise(ValueError)",
        "writer.write_data:future@0=raise(ValueError)",
        "writer.write_data:future@1=raise(ValueError)",
        "writer.finish@0=raise(ValueError)",
    ]
    assert journal.unreached == ("writer.validate_checkpoint_id",)


def test_every_planned_fault_fired_and_the_verdict_is_that_of_the_engine(journal):
    assert journal.results and all(result.fired for result in journal.results)
    found = verdicts(journal)
    assert found["writer.reset@1=raise(ValueError)"] is Verdict.HUNG  # reset stands outside of every step
    assert found["writer.write_data@1=raise(ValueError)"] is Verdict.HELD
    assert found["writer.finish@0=raise(ValueError)"] is Verdict.HELD
    assert journal.totals == {"HUNG": 2, "HELD": 5}
    assert not journal.held


def test_a_broken_promise_keeps_its_story_and_how_to_replay_it(journal):
    hung = journal.results[1]
    assert hung.story.startswith("HUNG")
    command = "faultkit replay 'writer.reset@1=raise(ValueError)' --scenario dcp-save --world 2"
    assert hung.story.endswith(f"\nreplay: {command}")
    assert journal.replay_command(hung) == command
    assert journal.results[2].story == ""


def write_and_look(directory):
    (directory / "shard").write_text("x")
    os.stat(directory)


def test_files_fail_by_default_as_files_do():
    swept = sweep(of_function(write_and_look), world=1, points=["fs.open", "fs.write", "fs.stat", "fs.mkdir"])
    assert {str(result.plan) for result in swept.results} == {
        "fs.open@0=raise(OSError, EIO)",
        "fs.write@0=raise(OSError, ENOSPC)",
        "fs.stat@0=raise(OSError, EIO)",
    }
    assert set(swept.totals) == {"HELD"}
    [chosen] = sweep(
        of_function(write_and_look), world=1, points=["fs.open"], actions="raise(ValueError)"
    ).results
    assert str(chosen.plan) == "fs.open@0=raise(ValueError)"


RUNS = []  # of this process: ranks that stay have those of the runs before


def look_for_a_cache_when_cold(directory):
    if not RUNS:
        os.stat(directory)
    RUNS.append(1)
    (directory / "shard").write_text("x")


def write_every_other_time(directory):
    RUNS.append(1)
    (directory / "shard").write_text("x")
    if len(RUNS) % 2 == 0:  # as who wins a race does
        (directory / "other").write_text("x")


def test_what_only_the_first_run_comes_by_is_not_enumerated():
    swept = sweep(of_function(look_for_a_cache_when_cold), world=1, points=["fs.open", "fs.stat"])
    assert [str(result.plan) for result in swept.results] == ["fs.open@0=raise(OSError, EIO)"]


def test_a_place_that_its_rank_does_not_come_by_in_each_run_is_tried_again():
    swept = sweep(of_function(write_every_other_time), world=1, points=['fs.open("other")'])
    assert swept.totals == {"HELD": 1}


def test_what_can_happen_to_files_is_tried_where_it_can_and_left_out_where_it_changes_nothing():
    points = ('fs.*("*.distcp")', "writer.finish")
    journal = sweep("dcp-save", world=2, points=points, moments=["before"], actions=["flip", "stale", "lie"])
    assert {result.plan.faults[0].site for result in journal.results} == {
        'fs.write("*.distcp")', 'fs.flush("*.distcp")', 'fs.fsync("*.distcp")'
    }  # fmt: skip
    found = {str(result.plan): result for result in journal.results}
    flipped = found['fs.write("*.distcp")@0=flip']
    assert flipped.verdict is Verdict.SILENT_WRONG and {
        one.path.rpartition("/")[2] for one in flipped.fired
    } == {"__0_0.distcp"}
    # a save opens no file to read it: nothing to flip and nothing old, at open and at create_stream, on two ranks
    assert journal.idle_count == 8 and not journal.is_cut_off
    assert json.loads(journal.to_json())["idle"] == 8
    assert "INERT" not in journal.totals


def test_the_json_is_the_promised_object(journal):
    found = json.loads(journal.to_json())
    assert list(found) == [
        "scenario",
        "world",
        "kind",
        "launcher",
        "torch",
        "plans",
        "totals",
        "tried_unbroken",
    ]
    assert found["launcher"] == "torchrun"
    assert (found["scenario"], found["world"], found["kind"]) == ("dcp-save", 2, "warm")
    assert found["torch"]
    assert found["totals"] == {"HUNG": 2, "HELD": 5}
    hung, held = found["plans"][1], found["plans"][3]
    assert hung["plan"] == "writer.reset@1=raise(ValueError)"
    assert hung["verdict"] == "HUNG"
    assert {"check", "evidence", "identity"} == set(hung["violations"][0])
    assert hung["outcomes"]["0"]["kind"] == "hung"
    assert hung["outcomes"]["1"] == {
        "kind": "raised",
        "type": "ValueError",
        "message": "injected by faultkit: writer.reset@1=raise(ValueError)",
    }
    assert held["violations"] == []
    fired = held["fired"][0]
    assert (fired["fault"], fired["rank"], fired["call"], fired["step"]) == (held["plan"], 1, 1, "write")
    assert 0 < fired["seconds"] < held["seconds"]
    assert held["outcomes"]["0"]["type"] == "CheckpointException"


def test_progress_is_told_before_the_first_plan_and_after_each(journal, progress):
    assert progress == [(done, 7, done) for done in range(8)]


def test_given_plans_are_run_instead_and_two_worlds_keep_their_order():
    texts = [f"writer.write_data@{rank}=raise(OSError, ENOSPC)" for rank in (1, 0)]
    plans = [FaultPlan.parse(text) for text in [*texts, "", *texts]]
    journal = sweep("dcp-save", world=2, plans=plans, jobs=2, stories=True)
    assert [result.plan for result in journal.results] == plans
    assert journal.held
    assert all(result.story.startswith("HELD") for result in journal.results)


def test_a_fault_that_does_not_fire_is_no_success():
    journal = sweep("dcp-save", world=2, plans=[FaultPlan.parse("writer.finish@1=raise(ValueError)")])
    assert journal.totals == {"INERT": 1}


def test_death_is_told_by_its_signal():
    plans = [FaultPlan.parse(f"writer.write_data@1={action}") for action in ("kill(SIGKILL)", "exit(3)")]
    journal = sweep("dcp-save", world=2, plans=plans)
    assert [result.outcomes[1].type for result in journal.results] == ["SIGKILL", "exit(3)"]


def test_a_scenario_that_fails_by_itself_is_not_swept():
    with pytest.raises(ScenarioError, match="does not hold without any fault") as caught:
        sweep(f"{__name__}:lose_heart", world=2)
    assert "not today" in caught.value.story
    assert f"--scenario {__name__}:lose_heart" in caught.value.story


def test_a_scenario_that_comes_by_no_point_is_not_swept():
    with pytest.raises(ScenarioError, match="comes by none of the"):
        sweep(f"{__name__}:touch_no_storage", world=2)


def test_a_plan_beyond_the_world_is_refused_before_anything_starts():
    with pytest.raises(PlanError, match="rank 2"):
        sweep("dcp-save", world=2, plans=[FaultPlan.parse("writer.reset@2=hang")])


@pytest.mark.parametrize("jobs", [0, True, 1.5])
def test_jobs_must_be_a_number_of_worlds(jobs):
    with pytest.raises(ValueError, match="number of worlds"):
        sweep("dcp-save", jobs=jobs)


class DiskGone(Exception):
    pass


def test_an_allowed_exception_is_allowed_in_the_command_that_replays_it():
    name = f"{__name__}:DiskGone"
    plan = FaultPlan.parse(f"writer.reset@1=raise({name}); writer.finish=raise(ValueError)", allow=[name])
    journal = sweep("dcp-save", world=2, plans=[plan])
    assert journal.results[0].outcomes[1].type == "DiskGone"
    assert journal.replay_command(journal.results[0]).endswith(f"--world 2 --allow {name}")


def save_to_a_path(directory):
    import torch
    import torch.distributed as dist

    torch.save(torch.ones(3), os.path.join(directory, f"rank{dist.get_rank()}.pt"))


@pytest.mark.skipif(shim.compiler() is None, reason="needs a C compiler")
def test_calls_of_native_writers_are_places_like_any_other():
    journal = sweep(
        of_function(save_to_a_path, "by a path"),
        world=2,
        points=('fs.open("*.pt")', 'fs.write("*.pt")'),
        actions=("raise(OSError, ENOSPC)",),
    )
    assert list(verdicts(journal)) == [
        f'{point}("*.pt")@{rank}=raise(OSError, ENOSPC)'
        for point in ("fs.open", "fs.write")
        for rank in (0, 1)
    ]
    assert all(result.fired for result in journal.results)
