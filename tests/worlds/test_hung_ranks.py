"""A rank that does not come back is given its stack; a deadlock is told at once, with who waits for whom."""

from __future__ import annotations

import datetime
import functools
import os
import re
import signal
import threading
import time

import psutil
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import FaultPlan, FaultyStorageWriter, Hung, Returned
from faultkit.processes.procfs import STACK_SIGNAL
from tests.helpers.own_files import files_told

pytestmark = pytest.mark.slow

WHOLE = {0: Returned(0), 1: Returned(1)}
DEADLINE_SECONDS = 30.0
AT_ONCE_SECONDS = 5.0  # far from the deadline, and fair to a machine that is busy


@pytest.fixture(autouse=True)
def the_next_run_is_healthy(pair):
    """Whatever a test of this file did to the world."""
    pair.prepare()
    before = set(pair.pids().values())
    yield
    assert pair.run(dist.get_rank).outcomes == WHOLE
    assert not before & set(pair.pids().values()) or pair.run(lambda: None).seconds < AT_ONCE_SECONDS


def save():
    dcp.save({"w": torch.ones(2)}, checkpoint_id="nowhere", storage_writer=FaultyStorageWriter(FaultPlan()))
    return dist.get_rank()


def hung(world, function, *args, at_once=True, **kwargs):
    """The outcomes of a run that hangs, all ranks of which but those that answered have a stack."""
    run = world.run(function, *args, timeout=DEADLINE_SECONDS if at_once else 0.5, **kwargs)
    if at_once:
        assert run.seconds < AT_ONCE_SECONDS
    outcomes = [outcome for outcome in run.outcomes.values() if isinstance(outcome, Hung)]
    assert outcomes and all("File " in outcome.stack for outcome in outcomes)
    return run.outcomes


# -- the deadline --------------------------------------------------------------------------------


def test_at_the_deadline_every_rank_gets_its_stack(pair):
    def sleeps():
        time.sleep(60)

    outcomes = hung(pair, sleeps, at_once=False)

    assert [(outcome.kind, "in sleeps" in outcome.stack) for outcome in outcomes.values()] == [
        ("hung", True)
    ] * 2
    assert [files_told(outcome.stack) for outcome in outcomes.values()] == [[], []]


def test_a_rank_that_came_back_keeps_its_value_at_the_deadline(pair):
    def one_spins():
        while dist.get_rank() == 1:
            pass
        return "back"

    outcomes = hung(pair, one_spins, at_once=False)

    assert outcomes[0] == Returned("back") and "in one_spins" in outcomes[1].stack


def test_the_stacks_of_other_threads_are_in_it(pair):
    def waits_for_a_thread():
        def does_not_end():
            threading.Event().wait()

        thread = threading.Thread(target=does_not_end, daemon=True)
        thread.start()
        thread.join()

    stack = hung(pair, waits_for_a_thread, at_once=False)[0].stack

    assert "in does_not_end" in stack and "in waits_for_a_thread" in stack


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])  # of the latter it would die
def test_a_rank_that_took_our_signal_away_is_read_from_outside(pair, handler):
    def deaf():
        signal.signal(STACK_SIGNAL, handler)
        time.sleep(60)

    stack = hung(pair, deaf, at_once=False)[1].stack

    assert re.match(r'Current thread .*\n  File ".*test_hung_ranks.py", line \d+ in deaf', stack)


def test_a_rank_that_stopped_itself_is_read_from_outside(pair):
    def stops():
        if dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGSTOP)

    outcomes = hung(pair, stops, at_once=False)

    assert "in stops" in outcomes[1].stack and "stopped" in outcomes[1].waiting


# -- planned hangs and stops ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["python", "native"])
def test_a_planned_hang_is_told_at_once_with_the_stack_of_the_one_who_hangs(pair, how):
    outcomes = hung(pair, save, plan=f"writer.write_data@1=hang({how})")

    assert "in save" in outcomes[1].stack
    assert "rank 1, which hangs by plan at writer.write_data" in outcomes[0].waiting


def test_a_planned_hang_in_the_returned_future_is_told_at_once(pair):
    outcomes = hung(pair, save, plan="writer.write_data:future@1=hang")

    assert outcomes[0].kind == outcomes[1].kind == "hung"


def test_a_planned_hang_of_all_ranks_is_told_at_once(pair):
    outcomes = hung(pair, save, plan="writer.write_data=hang")

    assert all("in save" in outcome.stack for outcome in outcomes.values())


def test_a_planned_stop_is_told_at_once(pair):
    outcomes = hung(pair, save, plan="writer.write_data@1=stop")

    assert "rank 1, which is stopped by plan at writer.write_data" in outcomes[0].waiting
    assert "in save" in outcomes[1].stack and "stopped" in outcomes[1].waiting


def stop_late():
    """The rank is kept from its work just before it stops, as on a busy machine, for longer than it is to stand."""
    kill, ready = os.kill, time.monotonic() + 0.5

    def busy(pid, number):
        while number == signal.SIGSTOP and time.monotonic() < ready:
            pass
        kill(pid, number)

    os.kill = busy
    try:
        return save()
    finally:
        os.kill = kill


def test_a_rank_that_stops_later_than_it_was_to_go_on_goes_on(pair):
    run = pair.run(stop_late, plan="writer.reset@1=stop(0.05)")
    assert run.outcomes == WHOLE and len(run.fired) == 1


def meet_a_rank_that_comes_late(pids):
    came = time.monotonic()
    while dist.get_rank() == 0 and time.monotonic() < came + DEADLINE_SECONDS / 2:
        if psutil.Process(pids[1]).status() == psutil.STATUS_STOPPED:
            break
    dist.barrier()


@pytest.mark.parametrize("action", ["stop", "kill(SIGSTOP)"])
def test_a_rank_that_is_stopped_within_a_collective_holds_the_others_for_good(pair, action):
    plan = f"clock.millisecond@1#200={action}"
    outcomes = hung(pair, functools.partial(meet_a_rank_that_comes_late, pair.pids()), plan=plan)
    assert outcomes[1].kind == "hung" and "barrier" in outcomes[0].waiting


def test_a_planned_signal_that_stops_is_told_like_a_stop(pair):
    assert "is stopped by plan" in hung(pair, save, plan="writer.write_data@1=kill(SIGSTOP)")[0].waiting


def test_a_stop_that_is_resumed_is_no_hang(pair):
    run = pair.run(save, plan="writer.write_data@1=stop(0.2)")

    assert run.outcomes == WHOLE and run.seconds >= 0.2
    assert [one.rank for one in run.fired] == [1]


def test_every_stop_of_a_rank_is_resumed(pair):
    run = pair.run(save, plan="writer.prepare_local_plan@1=stop(0.1); writer.write_data=stop(0.1)")

    assert run.outcomes == WHOLE and len(run.fired) == 3


# -- deadlocks -----------------------------------------------------------------------------------


def raises_before_a_barrier():
    if dist.get_rank() == 1:
        raise ValueError("early")
    dist.barrier()


def returns_before_an_all_reduce():
    if dist.get_rank() == 0:
        dist.all_reduce(torch.ones(1))


def waits_for_work_that_one_did_not_begin():
    if dist.get_rank() == 0:
        dist.all_reduce(torch.ones(1), async_op=True).wait()


def receives_what_nobody_sends():
    if dist.get_rank() == 0:
        dist.recv(torch.ones(1), src=1)


def both_receive():
    dist.recv(torch.ones(1), src=1 - dist.get_rank())


def waits_for_a_key():
    if dist.get_rank() == 0:
        dist.distributed_c10d._get_default_store().wait(["a key that nobody sets"])


def calls_do_not_match():
    tensors = [torch.ones(1) for _ in range(2)]
    if dist.get_rank() == 0:
        dist.all_gather(tensors, torch.ones(1))
        dist.barrier()
    else:
        dist.barrier()


def two_groups_in_opposite_order():
    one, other = dist.new_group([0, 1]), dist.new_group([0, 1])
    for group in (one, other) if dist.get_rank() == 0 else (other, one):
        dist.barrier(group=group)


def scatters_without_the_root():
    if dist.get_rank() == 1:
        dist.scatter(torch.ones(1), src=0)


def monitored_barrier_alone():
    if dist.get_rank() == 0:
        dist.monitored_barrier()


DEADLOCKS = {
    raises_before_a_barrier: "in barrier, for rank 1, which raised ValueError before it",
    returns_before_an_all_reduce: "in allreduce, for rank 1, which returned before it",
    waits_for_work_that_one_did_not_begin: "in allreduce, for rank 1, which returned before it",
    receives_what_nobody_sends: "in recv, for rank 1, which returned",
    both_receive: "in recv, for rank 1, which is in recv",
    waits_for_a_key: "in store.wait, for rank 1, which returned",
    calls_do_not_match: "in ",
    two_groups_in_opposite_order: "in barrier, for rank 1, which is in barrier",
    scatters_without_the_root: "in scatter, for rank 0, which returned before it",
    monitored_barrier_alone: "in monitored_barrier, for rank 1, which returned before it",
}


@pytest.mark.parametrize("deadlock", DEADLOCKS, ids=lambda function: function.__name__)
def test_a_deadlock_is_told_long_before_the_deadline_with_who_waits_for_whom(pair, deadlock):
    outcomes = hung(pair, deadlock)

    waiting = next(outcome for outcome in outcomes.values() if isinstance(outcome, Hung))
    assert waiting.waiting.startswith(DEADLOCKS[deadlock])
    assert f"in {deadlock.__name__}" in waiting.stack


def waits_for_a_key_for_a_while(seconds):
    if dist.get_rank() == 0:
        dist.distributed_c10d._get_default_store().wait(
            ["a key that nobody sets"], datetime.timedelta(seconds=seconds)
        )


def test_a_rank_that_gives_up_waiting_for_a_key_is_not_hung(pair):
    run = pair.run(waits_for_a_key_for_a_while, 1.0)

    assert run.outcomes[0].kind == "raised" and "Wait timeout" in run.outcomes[0].message
    hung(pair, waits_for_a_key_for_a_while, 90.0)


def test_the_step_of_the_engine_is_named_for_every_rank_that_waits(three):
    run = three.run(save, plan="writer.reset@2=raise(ValueError)", timeout=DEADLINE_SECONDS)

    assert run.seconds < AT_ONCE_SECONDS and run.outcomes[2].type_name == "ValueError"
    for rank in (0, 1):
        assert re.match(
            r"in \w+_object of step 'plan', for rank .*2, which raised ValueError before it",
            run.outcomes[rank].waiting,
        )


def test_a_subgroup_goes_on_while_another_is_stuck_and_only_then_the_run_hangs(three):
    def some_are_stuck():
        group = dist.new_group([0, 1])
        if dist.get_rank() == 2:
            time.sleep(0.6)  # in its own code: meanwhile nothing is proven
            return "done"
        if dist.get_rank() == 0:
            dist.barrier(group=group)
        return None

    outcomes = hung(three, some_are_stuck)

    assert outcomes[2] == Returned("done")
    assert outcomes[0].waiting == "in barrier, for rank 1, which returned before it"


def test_ranks_that_wait_for_what_a_dead_rank_would_have_sent_on_are_told_to_hang(three):
    def one_dies():
        if dist.get_rank() == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        dist.barrier()

    run = three.run(one_dies, timeout=DEADLINE_SECONDS)

    assert run.outcomes[2].signal == "SIGKILL" and run.seconds < AT_ONCE_SECONDS
    for rank in (0, 1):
        assert run.outcomes[rank].kind in (
            "raised",
            "hung",
        )  # the connection broke, or nothing came through it
