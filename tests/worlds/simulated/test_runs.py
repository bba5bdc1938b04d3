"""Simulated ranks run what real ones run: the same interface, outcomes, checks and verdicts."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import Died, FaultPlan, Hung, PlanError, Verdict, World
from faultkit.worlds.simulated.plans import can_carry
from tests.helpers.own_files import files_told


def save(directory):
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)


def test_a_save_writes_what_a_real_one_writes(pair, tmp_path):
    assert pair.run(save, tmp_path).verdict == Verdict.HELD

    loaded = {"weight": torch.zeros(8)}
    dcp.load(loaded, checkpoint_id=tmp_path, no_dist=True)
    assert loaded["weight"].tolist() == [1.0] * 8


def test_an_injected_error_reaches_every_rank_and_is_recorded(four, tmp_path):
    run = four.run(save, tmp_path, plan="writer.write_data@2=raise(OSError, ENOSPC)")

    assert [list(outcome.failures) for outcome in run.outcomes.values()] == [[2]] * 4
    assert [(one.rank, one.call, one.step) for one in run.fired] == [(2, 1, "write")]
    assert (run.kind, run.verdict) == ("simulated", Verdict.HELD)


def test_a_hang_is_known_with_whom_everybody_waits_for(four, tmp_path):
    run = four.run(save, tmp_path, plan="writer.reset@1=raise(ValueError)")

    assert run.verdict == Verdict.HUNG and run.simulation.is_certain
    assert {outcome.waiting for rank, outcome in run.outcomes.items() if rank != 1} == {
        "in gather_object of step 'plan', for rank 1, which raised ValueError before it"
    }
    stack = run.outcomes[0].stack
    assert "gather_object" in stack and files_told(stack) == []
    assert "can never come back" in run.violations[0].evidence


def test_peers_of_a_killed_rank_see_what_gloo_shows_them(four, tmp_path):
    run = four.run(save, tmp_path, plan="writer.write_data@2=kill(SIGKILL)")

    # of a ring only the neighbours hear that a member is gone
    assert run.outcomes[2] == Died(signal="SIGKILL")
    assert [run.outcomes[rank].kind for rank in (0, 1, 3)] == ["hung", "raised", "raised"]
    assert (
        run.outcomes[1].type_name == "RuntimeError" and "Connection closed by peer" in run.outcomes[1].message
    )


@pytest.mark.parametrize(
    ("plan", "kinds"),
    [
        ("writer.write_data@1=exit(3)", ["raised", "died"]),
        ("writer.write_data@1=hang", ["hung", "hung"]),
        ("writer.write_data@1=hang(native)", ["hung", "hung"]),
        ("writer.write_data@1=raise(ValueError, leave)", ["raised", "raised"]),
        ("writer.write_data:future@1=raise(ValueError)", ["raised", "raised"]),
        ("clock.millisecond@1#5=kill(SIGTERM)", ["raised", "died"]),
    ],
)
def test_actions_on_simulated_ranks(pair, tmp_path, plan, kinds):
    run = pair.run(save, tmp_path, plan=plan)

    assert [outcome.kind for outcome in run.outcomes.values()] == kinds
    assert len(run.fired) == 1


def test_ends_that_no_plan_asked_for(pair):
    def leave(how):
        if dist.get_rank() == 1:
            how()
        dist.barrier()

    ends = {
        Died(exitcode=7): lambda: sys.exit(7),
        Died(exitcode=9): lambda: os._exit(9),
        Died(signal="SIGABRT"): os.abort,
        Died(signal="SIGTERM"): lambda: os.kill(os.getpid(), 15),
    }
    assert {pair.run(leave, how).outcomes[1] for how in ends.values()} == set(ends)


def test_attempts_after_run_on_the_same_ranks(pair, tmp_path):
    run = pair.run(save, tmp_path, plan="writer.write_data@1=raise(ValueError)", attempts_after=2)

    assert run.verdict == Verdict.HELD
    assert {rank: [end.kind for end in ends] for rank, ends in run.attempts_after.items()} == {
        0: ["returned"] * 2,
        1: ["returned"] * 2,
    }


def test_a_rank_that_computes_for_ever_meets_the_real_deadline():
    def spin():
        while dist.get_rank() == 1:
            pass
        dist.barrier()

    with World(2, kind="simulated", timeout=0.5) as world:
        run = world.run(spin)
        assert (
            not run.simulation.is_certain and "did not come back within 0.5 s" in run.violations[0].evidence
        )
        assert isinstance(run.outcomes[1], Hung) and "in spin" in run.outcomes[1].stack
        assert world.run(dist.get_rank).outcomes[1].value == 1  # on a host of its own


def test_a_thread_and_a_file_that_are_left_are_a_leak(pair):
    def leak():
        import tempfile

        if dist.get_rank() == 1:
            threading.Thread(target=threading.Event().wait, name="left", daemon=True).start()
            tempfile.mkstemp(prefix="left")

    run = pair.run(leak)
    assert run.verdict == Verdict.LEAKED
    (event,) = [event for event in run.events if event.kind == "residue"]
    assert event.rank == 1 and event.data["threads"] == ["left"]
    os.unlink(*event.data["files"])


def test_what_only_a_thread_held_that_is_over_is_no_leak(pair):
    class Holder(threading.Thread):
        def run(self):
            self.file = open(os.devnull)  # noqa: SIM115
            self.itself = self

    def hold():
        thread = Holder()
        thread.start()
        thread.join()

    assert pair.run(hold).verdict == Verdict.HELD


def test_descriptors_children_and_shared_memory_are_told_of_the_rank_that_left_them(pair):
    def leak():
        import multiprocessing.shared_memory
        import socket
        import subprocess
        import sys

        closed = os.open(os.devnull, os.O_RDONLY)
        dist.barrier()
        os.close(closed)  # the number is free for the other rank
        if dist.get_rank() == 1:
            sys.left = [open(os.devnull), socket.socket(), os.open("/", os.O_RDONLY)]  # noqa: SIM115
            dist.barrier()
        else:
            dist.barrier()
            memory = multiprocessing.shared_memory.SharedMemory(create=True, size=100)
            memory.close()
            child = subprocess.Popen(["sleep", "1000"])
            subprocess.run(["true"], check=True)
            return memory.name, child.pid
        return None

    run = pair.run(leak)
    assert run.verdict == Verdict.LEAKED
    left = {event.rank: event.data for event in run.events if event.kind == "residue"}
    memory, child = run.outcomes[0].value
    try:
        assert [words.split(" -> ")[1].partition(":")[0] for words in left[1]["descriptors"]] == [
            "/dev/null",
            "socket",
            "/",
        ]
        assert left[0]["children"] == [f"{child} sleep 1000"]
        assert left[0]["shared_memory"] == [f"/dev/shm/{memory}"] and not left[0]["descriptors"]
        assert not left[1]["children"] and not left[1]["shared_memory"]
    finally:
        os.kill(child, signal.SIGKILL)
        os.unlink(f"/dev/shm/{memory}")
    assert pair.run(dist.get_rank).verdict == Verdict.HELD  # what one run left is not the next one's


@pytest.mark.parametrize(
    ("action", "nearest"),
    [
        ("segfault", "kill(SIGSEGV)"),
        ("stop", "hang(native)"),
        ("stop(0.5)", "delay(0.5)"),
        ("memory", "raise(MemoryError)"),
        ("kill(SIGSTOP)", "hang(native)"),
    ],
)
def test_what_makes_no_sense_on_threads_is_refused_or_given_to_processes(action, nearest):
    plan = f"writer.write_data@1={action}"
    with (
        World(2, kind="simulated") as world,
        pytest.raises(PlanError, match="cannot happen to a simulated rank") as refused,
    ):
        world.run(save, "/nowhere", plan=plan)
    assert f"nearest is {nearest}" in str(refused.value)
    assert not can_carry(FaultPlan.parse(plan))


def test_auto_takes_the_cheapest_world_that_can_carry_the_plan(tmp_path):
    with World(2, kind="auto") as world:
        kinds = [
            world.run(save, tmp_path / name, plan=plan).kind
            for name, plan in [
                ("a", "writer.write_data@1=raise(ValueError)"),
                ("b", "writer.write_data@1=stop(0.01)"),
                ("c", ""),
            ]
        ]
    assert kinds == ["simulated", "warm", "simulated"]


def test_deadlock_of_64_ranks_is_known_at_once():
    def never():
        if dist.get_rank():
            dist.barrier()

    with World(64, kind="simulated") as world:
        world.prepare()
        started = time.perf_counter()
        run = world.run(never)
        assert time.perf_counter() - started < 5  # a tenth of that where the machine is free
    assert [outcome.kind for outcome in run.outcomes.values()] == ["returned"] + ["hung"] * 63


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="from 1 to 4096 for simulated ranks"):
        World(5000, kind="simulated")
    with World(2) as world, pytest.raises(ValueError, match="only simulated ranks follow a schedule"):
        world.run(save, "/nowhere", schedule=(1, 0))


def test_a_backend_that_nobody_simulates_is_refused():
    with pytest.raises(ValueError, match=r"simulated ranks talk as gloo does.*backend='nccl'"):
        World(2, kind="simulated", backend="nccl")
    with World(2, kind="simulated", backend="") as world:
        assert world.run(dist.is_initialized).outcomes[1].value is False
