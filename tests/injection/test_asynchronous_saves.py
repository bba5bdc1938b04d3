"""Points of asynchronous saves by thread, on the real engine: the stager, its buffers, the executor.

What is said of the stock engine is true of torch 2.13.
"""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from faultkit import FaultPlan, PlanError, Verdict, World

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.__version__.startswith("2.13"), reason="the points are those of torch 2.13"),
]


def state():
    rank = dist.get_rank()
    return {f"{name}{rank}": torch.full((4, 4), float(at)) for at, name in enumerate("abc")}


def by_thread(directory):
    dcp.async_save(state(), checkpoint_id=directory).result()


def agreeing(directory):
    """As `by_thread`, by a job whose ranks tell each other before they begin whether they could stage their state."""
    stager = DefaultStager(StagingOptions(False, False, False, False))
    staged, error = None, None
    try:
        staged = stager.stage(state())
    except Exception as failed:
        error = failed
    told = [None] * dist.get_world_size()
    dist.all_gather_object(told, error)
    for one in told:
        if one is not None:
            raise one
    dcp.async_save(staged, checkpoint_id=directory, async_stager=stager).result()


def staged_in_a_thread(directory):
    options = StagingOptions(
        use_pinned_memory=False, use_shared_memory=False, use_async_staging=True, use_non_blocking_copy=False
    )
    stager = DefaultStager(options)
    response = dcp.async_save(state(), checkpoint_id=directory, async_stager=stager)
    response.staging_completion.result()
    response.upload_completion.result()
    stager.close()


def twice(directory):
    for number in range(2):
        dcp.async_save(state(), checkpoint_id=directory / str(number)).result()


@pytest.fixture(scope="module")
def two_ranks():
    with World(2) as world:
        yield world


@pytest.mark.parametrize(
    ("save", "plan", "verdict"),
    [
        (by_thread, "stager.stage@1=raise(MemoryError)", "HUNG"),
        (by_thread, "stager.copy@1=raise(MemoryError)", "HUNG"),
        (by_thread, "stager.buffer@1#2=raise(MemoryError)", "HUNG"),
        (by_thread, "stager.stage@1=shorten", "SILENT_WRONG"),
        (
            by_thread,
            "stager.buffer@1#2=earlier",
            "SILENT_WRONG",
        ),  # one tensor is saved in the place of another
        (by_thread, "stager.synchronize_staging@1=raise(ValueError)", "PARTIAL"),
        (by_thread, "stager.close@1=raise(ValueError)", "PARTIAL"),  # swallowed by concurrent.futures
        (by_thread, "executor.execute_save@1=raise(RuntimeError)", "HUNG"),
        (by_thread, "executor.run@1=raise(RuntimeError)", "HUNG"),
        (by_thread, "executor.run:after@1=raise(RuntimeError)", "PARTIAL"),
        (by_thread, "executor.execute_save:future@1=raise(KeyboardInterrupt)", "PARTIAL"),
        (by_thread, "executor.execute_save:future@1=hang", "HELD"),  # who waits for it waits, as planned
        (staged_in_a_thread, "stager.stage:future@1=hang", "HUNG"),
        (staged_in_a_thread, "stager.stage:future@1=raise(KeyboardInterrupt)", "HUNG"),
        (agreeing, "stager.stage@1=delay(0)", "HELD"),
    ],
)
def test_what_the_stock_engine_makes_of_faults_in_an_asynchronous_save(
    two_ranks, tmp_path, save, plan, verdict
):
    run = two_ranks.run(save, tmp_path, plan=plan, checkpoint_at=tmp_path)
    assert {fired.rank for fired in run.fired} == {1}
    assert {fired.step for fired in run.fired} == {None}
    assert run.verdict == verdict, run.story()


def test_ranks_that_agree_before_they_begin_do_not_wait_for_one_that_could_not_stage(two_ranks, tmp_path):
    plan = "stager.copy@1=raise(MemoryError)"
    run = two_ranks.run(agreeing, tmp_path, plan=plan, checkpoint_at=tmp_path)
    assert {outcome.type_name for outcome in run.outcomes.values()} == {"MemoryError"}
    assert run.verdict is Verdict.HELD, run.story()


def test_a_save_that_follows_one_that_was_not_handed_over_is_told_as_itself(two_ranks, tmp_path):
    plan = "executor.execute_save#1=raise(ValueError)"

    run = two_ranks.run(refused_then_saved, tmp_path, plan=plan)
    ends = [(e.data["attempt"], e.data["ok"]) for e in run.events if e.kind == "attempt_end" and e.rank == 0]
    assert ends == [(1, False), (2, True)]


def refused_then_saved(directory):
    try:
        by_thread(directory / "refused")
    except ValueError:
        by_thread(directory / "saved")


def test_simulated_ranks_have_the_points_of_a_save_by_thread(tmp_path):
    with World(2, kind="simulated") as world:
        for plan, verdict in {
            "stager.stage@1=shorten": "SILENT_WRONG",
            "executor.run@1=raise(RuntimeError)": "HUNG",
        }.items():
            run = world.run(by_thread, tmp_path, plan=plan, checkpoint_at=tmp_path)
            assert [fired.rank for fired in run.fired] == [1]
            assert run.verdict == verdict, run.story()


def test_the_points_are_in_the_catalogue_and_only_futures_have_their_moment():
    FaultPlan.parse("stager.stage:future=hang; executor.execute_save:future=hang; daemon.port=returns(None)")
    for text in ("executor.run:future=hang", "stager.close=shorten", "daemon.sen=hang"):
        with pytest.raises(PlanError):
            FaultPlan.parse(text)
