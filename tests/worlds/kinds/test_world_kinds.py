"""The kinds of world differ in cost and isolation, never in what a program sees or a caller learns."""

from __future__ import annotations

import gc
import os
import sys

import psutil
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import Died, FaultPlan, FaultyStorageWriter, Hung, Verdict, World
from faultkit.worlds.kinds import KINDS

pytestmark = pytest.mark.slow

WORLD_KINDS = [
    name for name, kind in KINDS.items() if not kind.follows_schedules
]  # the others: tests/conformance


@pytest.fixture(scope="module", params=WORLD_KINDS)
def world(request):
    with World(2, kind=request.param) as world:
        yield world


def test_values_output_surroundings_and_an_injected_error(world, tmp_path):
    class Local(Exception):
        pass

    offset = 10

    def program():
        print("on rank", dist.get_rank())
        total = torch.ones(1)
        dist.all_reduce(total)
        seen = (
            dist.get_rank() + offset,
            total.item(),
            dist.get_backend(),
            os.getcwd(),
            torch.get_num_threads(),
            gc.isenabled(),
        )
        try:
            dcp.save({"w": torch.ones(2)}, checkpoint_id=tmp_path)
        except dcp.CheckpointException as error:
            raise Local(seen, os.getpid()) from error

    run = world.run(program, plan="writer.write_data@1=raise(OSError, ENOSPC)")

    for outcome in run.outcomes.values():
        assert (outcome.type_name, type(outcome.exception)) == ("Local", Local)
        assert list(outcome.error.cause.failures) == [1] and outcome.error.cause.failures[1].errno == 28
    values = [outcome.exception.args for outcome in run.outcomes.values()]
    assert [seen for seen, _ in values] == [
        (rank + offset, 2.0, "gloo", os.getcwd(), 1, True) for rank in (0, 1)
    ]
    # a warm world keeps its ranks, the others end theirs
    kept = world.kind == "warm"
    assert [pid for _, pid in values if psutil.pid_exists(pid)] == list(world.pids().values())
    assert len(world.pids()) == 2 * kept
    assert run.output == {0: "on rank 0\n", 1: "on rank 1\n"}
    assert [(one.rank, one.call, one.step) for one in run.fired] == [(1, 1, "write")]
    assert run.verdict == Verdict.HELD
    assert (run.kind, run.world_size) == (world.kind, 2)
    assert run.plan == FaultPlan.parse("writer.write_data@1=raise(OSError, ENOSPC)")


def test_a_planned_kill_and_a_wait_without_end_are_told_apart(world):
    def program():
        try:
            dcp.save({"w": torch.ones(2)}, storage_writer=FaultyStorageWriter(FaultPlan()))
        finally:
            dist.distributed_c10d._get_default_store().wait(["a key that nobody sets"])

    run = world.run(program, plan="writer.write_data@1=kill(SIGTERM)")

    assert run.outcomes[1] == Died(signal="SIGTERM")
    assert [one.rank for one in run.fired] == [1]
    assert isinstance(run.outcomes[0], Hung) and "in program" in run.outcomes[0].stack
    assert run.outcomes[0].waiting == "in store.wait, for rank 1, which died of SIGTERM"


@pytest.mark.parametrize("world", ["warm", "fresh"], indirect=True)
def test_an_end_by_a_status_is_told_and_the_rank_that_misses_the_other_raises(world):
    def program():
        if dist.get_rank() == 1:
            sys.exit(5)
        dcp.save({"w": torch.ones(2)}, storage_writer=FaultyStorageWriter(FaultPlan()))

    run = world.run(program)

    assert run.outcomes[1] == Died(exitcode=5)
    assert run.outcomes[0].kind == "raised"
