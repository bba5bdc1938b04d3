"""Sessions: who is armed, what is counted, which ranks are hit, and what is recorded before it hurts."""

from __future__ import annotations

import os
import threading

import pytest
import torch.distributed.checkpoint as dcp

from faultkit.injection import Session, arm, current
from faultkit.plan import Fault, FaultPlan, PlanError


def test_the_session_is_current_in_every_thread_while_armed():
    seen = []
    with arm("", rank=1, world_size=2, record=None) as session:
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert (session.rank, session.world_size, session.coordinator, session.exit_after) == (1, 2, 0, False)
    assert seen == [session]
    assert current() is None


def test_a_process_cannot_be_armed_twice():
    with (
        arm("writer.finish=exit(3)", rank=0, world_size=1, record=None),
        pytest.raises(RuntimeError, match=r"armed with the plan 'writer.finish=exit\(3\)' already"),
        arm("", rank=0, world_size=1, record=None),
    ):
        pass
    assert current() is None


def test_a_plan_that_cannot_be_carried_out_is_refused_before_anything_runs():
    with pytest.raises(PlanError), arm("writer.finish@3=exit", rank=0, world_size=2, record=None):
        pass
    plan = FaultPlan.parse("writer.finish=raise(no.such.module:Error)", allow=["no.such.module:Error"])
    with pytest.raises(ValueError, match="must be importable"), arm(plan, rank=0, world_size=1, record=None):
        pass
    plan = FaultPlan.parse("writer.finish=raise(os:getcwd)", allow=["os:getcwd"])
    with (
        pytest.raises(ValueError, match="must name an exception class"),
        arm(plan, rank=0, world_size=1, record=None),
    ):
        pass
    assert current() is None


@pytest.mark.parametrize(
    ("calls", "expected"), [("2", [2]), ("1-", [1, 2, 3, 4]), ("3-", [3, 4]), ("2-3", [2, 3])]
)
def test_calls_are_counted_per_point_over_the_whole_armed_run(armed, save, calls, expected):
    def work():
        for _ in range(4):
            save()

    armed.run(f"writer.finish#{calls}=delay(0)", work)
    assert [call for _, _, call, _ in armed.fired] == expected
    assert [(data["call"], data["ok"]) for data in armed.of("called")] == [(n, True) for n in (1, 2, 3, 4)]


def test_each_armed_run_counts_from_one(armed, save):
    for _ in range(2):
        armed.run("writer.finish#1=delay(0)", save)
        assert [call for _, _, call, _ in armed.fired] == [1]


def test_writer_and_storage_count_the_same_calls_apart(armed, save, load):
    plan = "storage.reset#2=delay(0); writer.prepare_local_plan=delay(0); storage.prepare_local_plan=delay(0)"

    def work():
        save()
        load()

    armed.run(plan, work)
    assert [fired[::2] for fired in armed.fired] == [
        ("writer.prepare_local_plan", 1),
        ("storage.prepare_local_plan", 1),
        ("storage.prepare_local_plan", 2),
    ]


def test_faults_of_one_call_act_in_the_order_of_the_plan(armed, save):
    armed.run("storage.finish=delay(0); writer.finish=raise(KeyError); storage.finish=raise(OSError)", save)
    assert [data["fault"] for data in armed.of("fired")] == [0, 1]
    assert type(armed.error.failures[0][0]) is KeyError


def test_counting_is_exact_with_many_threads():
    session = Session(FaultPlan.parse("planner.resolve_data=delay(0)"))
    numbers = []

    def work():
        for _ in range(500):
            numbers.extend(number for _, number in session.enter(("planner.resolve_data",)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 4001))


@pytest.mark.parametrize(
    ("ranks", "coordinator", "hit"),
    [
        ("*", 0, {0, 1, 2, 3}),
        ("coordinator", 2, {2}),
        ("others", 2, {0, 1, 3}),
        ("first", 2, {0}),
        ("last", 2, {3}),
        ("1,3", 0, {1, 3}),
    ],
)
def test_roles_follow_the_coordinator(ranks, coordinator, hit):
    fault = Fault("writer.finish", "delay(0)", ranks=ranks)
    fired = set()
    for rank in range(4):
        session = Session(FaultPlan((fault,)), rank=rank, world_size=4)
        session.coordinator = coordinator
        session.fire_all((("writer.finish", 1),), "before")
        fired |= {rank} if session.fired else set()
    assert fired == hit


def test_without_a_group_every_rank_coordinates_itself(armed, save):
    armed.run("writer.finish@coordinator=delay(0)", save, rank=3, world_size=4)
    assert len(armed.fired) == 1
    assert armed.session.coordinator == 3


def test_a_fault_is_recorded_before_it_is_performed(armed, save, forked, tmp_path):
    journal = os.open(tmp_path / "journal", os.O_WRONLY | os.O_CREAT)

    def rank():
        def record(kind, data):
            os.write(journal, f"{kind}\n".encode())

        with arm("writer.finish=exit(7)", rank=0, world_size=1, record=record):
            save()

    [(answer, status)] = forked(rank)
    os.close(journal)
    assert answer is None
    assert os.waitstatus_to_exitcode(status) == 7
    lines = (tmp_path / "journal").read_text().split()
    assert lines[-1] == "fired"
    assert "attempt_end" not in lines


def test_a_raise_that_leaves_marks_the_session(armed, save):
    armed.run("writer.finish=raise(ValueError, leave)", save)
    assert armed.session.exit_after
    armed.run("writer.finish#2=raise(ValueError, leave)", save)
    assert not armed.session.exit_after


def test_after_the_run_nothing_fires_and_nothing_is_recorded(armed, save, tmp_path):
    kept = {}

    class Keeping(dcp.FileSystemWriter):
        def finish(self, metadata, results):
            kept["finish"] = super().finish
            super().finish(metadata, results)

    with arm(
        "writer.finish=delay(0)", rank=0, world_size=1, record=lambda *e: kept.setdefault("e", []).append(e)
    ):
        metadata = save(Keeping(tmp_path))
    count = len(kept["e"])
    kept["finish"](metadata, [])
    assert len(kept["e"]) == count


def test_a_forked_child_of_an_armed_process_is_not_armed(forked, save):
    def child():
        assert current() is None
        save()
        with arm("writer.finish=raise(ValueError)", rank=0, world_size=1, record=None) as session:
            try:
                save()
            except dcp.CheckpointException:
                return len(session.fired)

    with arm("writer.finish=raise(ValueError)", rank=0, world_size=1, record=None) as session:
        [(answer, _)] = forked(child)
        assert session.fired == []
    assert answer == (True, 1)
