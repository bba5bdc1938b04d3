"""Faults that strike some milliseconds after the start, whatever the rank is doing then."""

import pytest

from faultkit import Verdict


def meet_a_hundred_times():
    import torch.distributed as dist

    for _ in range(100):
        dist.barrier()
        dist.all_gather_object([None] * dist.get_world_size(), "x" * 10_000)


def meet_for_ever():
    while True:
        meet_a_hundred_times()


@pytest.mark.parametrize("action", ["kill(SIGKILL)", "exit(5)", "segfault"])
@pytest.mark.world(2)
def test_a_rank_ends_at_its_time_and_the_others_learn_of_it(world, action):
    run = world.run(meet_for_ever, plan=f"clock.millisecond@1#30={action}")
    [fired] = run.fired
    assert (fired.rank, fired.call, fired.point) == (1, 30, "clock.millisecond")
    assert fired.seconds >= 0.03
    assert (run.outcomes[0].kind, run.outcomes[1].kind) == ("raised", "died")
    assert run.verdict is Verdict.HELD


@pytest.mark.world(2)
def test_a_rank_that_holds_the_interpreter_for_ever_is_a_proven_hang(world):
    run = world.run(meet_for_ever, plan="clock.millisecond@0#30=hang(native)", timeout=60)
    assert run.verdict is Verdict.HUNG
    assert run.seconds < 30
    assert "hangs by plan at clock.millisecond" in run.outcomes[1].waiting


@pytest.mark.world(2)
def test_a_stopped_rank_that_is_resumed_goes_on(world):
    run = world.run(meet_a_hundred_times, plan="clock.millisecond@1#1=stop(0.05)", may_not_fire=True)
    assert [outcome.kind for outcome in run.outcomes.values()] == ["returned", "returned"]


@pytest.mark.world(2)
def test_a_time_that_never_comes_is_inert_and_leaves_nothing(world):
    before = world.pids()
    run = world.run(meet_a_hundred_times, plan="clock.millisecond#600000=kill")
    assert run.verdict is Verdict.INERT
    assert not before or world.pids() == before
