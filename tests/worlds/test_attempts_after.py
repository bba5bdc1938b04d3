"""After a fault the same ranks try again without one; what that comes to is told apart from the fault."""

from __future__ import annotations

import os
import signal

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import Died, FaultyStorageWriter, Hung, Raised, Returned, Verdict, World
from faultkit.plan import FaultPlan

PLAN = "writer.write_data@1=raise(ValueError)"  # at every call
counted = [0]


def count():
    counted[0] += 1
    return counted[0]


def save(place):
    dcp.save({"w": torch.zeros(9)}, checkpoint_id=place)
    return os.getpid()


def test_the_engine_saves_again_on_the_same_ranks(pair, tmp_path):
    run = pair.run(save, str(tmp_path), plan=PLAN, attempts_after=3)

    assert {type(outcome) for outcome in run.outcomes.values()} == {Raised}
    assert run.attempts_after == {rank: (Returned(pid),) * 3 for rank, pid in pair.pids().items()}
    assert [(fired.rank, fired.call) for fired in run.fired] == [(1, 1)]
    assert run.verdict is Verdict.HELD, run.story()
    assert "attempt 3: ranks 0, 1 returned" in run.story()


def test_a_faulty_object_fires_no_more_either(pair, tmp_path):
    def save_with(writer):
        dcp.save({"w": torch.ones(9)}, storage_writer=writer)

    writer = FaultyStorageWriter(FaultPlan.parse(PLAN))
    run = pair.run(save_with, writer, attempts_after=1)

    assert {type(outcome) for outcome in run.outcomes.values()} == {Raised}
    assert run.attempts_after == {0: (Returned(None),), 1: (Returned(None),)}


def compare(place):
    save(place)
    state = {"w": torch.zeros(9)}
    dcp.load(state, checkpoint_id=place)
    assert state["w"].eq(0).all(), "not what was saved"
    return "compared"


def test_another_function_may_check_what_was_saved(pair, tmp_path):
    run = pair.run(save, str(tmp_path), plan=PLAN, attempts_after=2, then=compare)

    assert run.attempts_after[0] == (Returned("compared"),) * 2
    assert run.verdict is Verdict.HELD


def keeps_a_broken_state():
    """Fails once it has failed; an engine that cannot be used again."""
    if count() > 2:
        raise RuntimeError("still broken")
    dist.barrier()


def hangs_at_the_third():
    if count() == 3 and dist.get_rank() == 1:
        return
    dist.barrier()


def dies_at_the_second():
    if count() == 2 and dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()


@pytest.mark.parametrize(
    ("function", "number", "kinds"),
    [
        (keeps_a_broken_state, 2, {0: Raised, 1: Raised}),
        (hangs_at_the_third, 2, {0: Hung, 1: Returned}),
        (dies_at_the_second, 1, {0: Raised, 1: Died}),
    ],
)
def test_an_attempt_that_does_not_succeed_makes_the_engine_unusable(function, number, kinds):
    with World(2) as world:
        run = world.run(function, attempts_after=3)

        assert run.outcomes == {0: Returned(None), 1: Returned(None)}
        assert {rank: type(after[number - 1]) for rank, after in run.attempts_after.items()} == kinds
        assert run.verdict is Verdict.UNUSABLE
        assert f"attempt {number} after the one under the plan" in run.story()
        assert world.run(dist.get_rank).outcomes == {0: Returned(0), 1: Returned(1)}


def test_a_hang_under_the_plan_is_told_as_without_further_attempts(pair, tmp_path):
    run = pair.run(save, str(tmp_path), plan="writer.reset@1=raise(ValueError)", attempts_after=3)

    assert run.outcomes[1].type_name == "ValueError"
    assert "rank 1, which raised ValueError before it" in run.outcomes[0].waiting
    assert run.attempts_after == {}
    assert run.verdict is Verdict.HUNG


@pytest.mark.parametrize("action", ["kill", "exit(3)", "raise(ValueError, leave)"])
def test_no_attempt_follows_where_a_rank_has_ended(pair, tmp_path, action):
    run = pair.run(save, str(tmp_path), plan=f"writer.write_data@1={action}", attempts_after=3, timeout=20)

    assert run.attempts_after == {}
    assert run.seconds < 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attempts_after": -1}, "attempts_after must be a number from 0 to 1000 \\(got -1\\)"),
        ({"attempts_after": True}, "got True"),
        ({"then": save}, "attempts_after is 0"),
    ],
)
def test_a_wrong_number_is_an_error_before_anything_starts(settings, message):
    with World(1) as world, pytest.raises(ValueError, match=message):
        world.run(save, "", **settings)
