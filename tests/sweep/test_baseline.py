"""What a sweep says of a scenario that does not hold while nothing is broken, and of its sound twin."""

from __future__ import annotations

import json

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import FaultPlan, Verdict
from faultkit.injection.session_parts.armed import current
from faultkit.scenarios import ScenarioError, of_function
from faultkit.sweep import sweep

pytestmark = pytest.mark.slow

CALLS = []  # of this process: ranks that stay have those of the runs before


def save(directory):
    dcp.save({"weight": torch.ones(64)}, checkpoint_id=directory)


def save_and_spoil(directory):
    """A storage that gives back something else than it was given, without a fault of ours."""
    save(directory)
    dist.barrier()
    if dist.get_rank() == 0:
        for shard in directory.glob("*.distcp"):
            content = shard.read_bytes()
            shard.write_bytes(content.replace(b"\0\0\x80?" * 64, b"\0\0\x80?" * 63 + b"\0\0\0@"))


def spoil_every_other_time(directory):
    CALLS.append(1)
    (save_and_spoil if len(CALLS) % 2 else save)(directory)


def raise_every_other_time(directory):
    CALLS.append(1)
    save(directory)
    if len(CALLS) % 2 and dist.get_rank() == 1:
        raise ArithmeticError("now and then")


def raise_on_ranks_that_have_run_it_before(directory):
    save(directory)
    CALLS.append(1)
    if len(CALLS) > 1:
        raise LookupError("what I kept has ended")


def raise_when_watched(directory):
    save(directory)
    if len(current().plan):
        raise LookupError("somebody looks")


def write_a_file_of_its_own(directory):
    save(directory)
    (directory / "more").write_text("x")


def write_nothing_else_than_files(directory):
    (directory / "more").write_text("x")


def sweep_of(function, **options):
    options = {"points": ["writer.finish"], **options}
    return sweep(of_function(function, f"{__name__}:{function.__name__}"), world=2, **options)


@pytest.mark.parametrize("options", [{}, {"points": (), "plans": [FaultPlan()]}], ids=["points", "plan"])
def test_a_scenario_that_breaks_a_promise_by_itself_is_a_violation_with_report_and_json(options):
    told = []
    journal = sweep_of(save_and_spoil, on_progress=lambda so_far: told.append(so_far.done_count), **options)

    (result,) = journal.results
    assert (result.plan, result.verdict, result.fired) == (FaultPlan(), Verdict.SILENT_WRONG, ())
    assert not journal.held and not journal.is_cut_off and told == [0, 1]
    found = json.loads(journal.to_json())
    assert found["totals"] == {"SILENT_WRONG": 1}
    assert found["plans"][0]["violations"][0]["check"] == "durable"
    assert (found["baseline"]["runs"], found["baseline"]["failed"]) == (5, 5)
    assert "does not hold with nothing broken (SILENT_WRONG in 5 of 5 runs)" in found["baseline"]["told"]


def test_its_sound_twin_is_swept():
    journal = sweep_of(save)
    assert journal.totals == {"HELD": 1} and journal.held
    assert journal.baseline is None and "baseline" not in json.loads(journal.to_json())


def test_processes_confirm_what_breaks_by_itself_on_simulated_ranks():
    (result,) = sweep_of(save_and_spoil, kind="auto").results
    assert (result.kind, result.simulated, result.verdict) == ("fresh", *[Verdict.SILENT_WRONG] * 2)


def test_what_fails_now_and_then_is_called_flaky_with_the_first_difference():
    journal = sweep_of(spoil_every_other_time)
    baseline = journal.baseline
    assert not journal.held and 0 < baseline.failed_count < baseline.run_count
    assert baseline.told.startswith(
        f"flaky: failed in {baseline.failed_count} of {baseline.run_count} runs with nothing broken; first difference: "
        "durable: ranks 0, 1 were told that save 1 succeeded"
    )


def test_work_that_fails_now_and_then_is_one_line_about_the_rank_that_failed():
    with pytest.raises(
        ScenarioError, match=r"is flaky: failed in \d of \d runs with nothing broken"
    ) as caught:
        sweep_of(raise_every_other_time)
    assert str(caught.value).endswith(
        "first difference: rank 1 raised ArithmeticError: now and then, and returned in a run that held"
    )
    assert caught.value.story == ""


def test_what_holds_on_new_ranks_alone_is_told_so_and_goes_through_there():
    with pytest.raises(ScenarioError, match=r"holds on new ranks, and not on ranks .* --kind fresh"):
        sweep_of(raise_on_ranks_that_have_run_it_before)
    assert sweep_of(raise_on_ranks_that_have_run_it_before, kind="fresh").held


def test_what_fails_only_while_it_is_watched_is_told_so():
    with pytest.raises(ScenarioError, match="does not hold when its points are only watched"):
        sweep_of(raise_when_watched)


def test_files_that_no_chosen_point_breaks_are_told_where_the_points_were_not_chosen():
    by_default = sweep_of(write_a_file_of_its_own, points=(), actions=["delay(0)"])
    assert by_default.unbroken_file_count == 4  # two shards, the metadata, and its own
    chosen = sweep_of(write_a_file_of_its_own, points=["writer.finish"], actions=["delay(0)"])
    assert chosen.unbroken_file_count == 0
    with pytest.raises(ScenarioError, match=r"it wrote files \(1\), which points 'fs\.\*' break"):
        sweep_of(write_nothing_else_than_files, points=())
