"""Faults in processes that a rank starts: forked ones, workers of a data loader, the daemon of asynchronous saves."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType

from faultkit import FaultPlan, PlanError, Verdict, World
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

HERE = __name__
WORK = f"call.{HERE}:work"


def work(number):
    return number + 1


@pytest.fixture(scope="module")
def two_ranks():
    with World(2) as world:
        yield world


# -- forked ----------------------------------------------------------------------------------------


def forks(directory, tells=False):
    """The function does its work, and writes, in a forked child; where it `tells`, it fails as that does."""
    work(0)
    pid = os.fork()
    if pid == 0:
        try:
            work(1)
            with open(directory / f"of_rank{dist.get_rank()}", "w") as stream:
                stream.write("x" * 100)
            work(2)
        except BaseException:
            os._exit(3)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if tells and status:
        raise ChildProcessError(f"the child ended with {status}")
    return status


@pytest.mark.parametrize(
    ("plan", "status", "call"),
    [
        (f"{WORK}(child)@1#2=raise(ValueError)", 3, 2),  # its second call: that of the rank does not count
        (f"{WORK}(child)@1#1=kill(SIGTERM)", -signal.SIGTERM, 1),
        (f"{WORK}(child):after@1#1=exit(7)", 7, 1),
        ('fs.open("of_rank*", child)@1=raise(OSError, EMFILE)', 3, 1),
        ('fs.write("of_rank*", child)@1#1=kill', -signal.SIGKILL, 1),
        (f"{WORK}(child)@1#1=descriptors(0)", 3, 1),
    ],
)
def test_a_fault_strikes_in_a_forked_child_and_not_in_its_rank(two_ranks, tmp_path, plan, status, call):
    run = two_ranks.run(forks, tmp_path, plan=plan, may_not_fire=False)
    assert [(fired.rank, fired.child, fired.call) for fired in run.fired] == [(1, True, call)]
    assert {rank: outcome.value for rank, outcome in run.outcomes.items()} == {0: 0, 1: status}


@pytest.mark.parametrize("action", ["raise(ValueError)", "kill"])
def test_a_rank_that_tells_of_its_child_holds_and_one_that_does_not_is_told(two_ranks, tmp_path, action):
    plan = f"{WORK}(child)=raise(ValueError)" if "raise" in action else f"{WORK}(child)={action}"
    told = two_ranks.run(forks, tmp_path, True, plan=plan)
    ignored = two_ranks.run(forks, tmp_path, plan=plan)
    assert {outcome.kind for outcome in told.outcomes.values()} == {"raised"}
    assert ignored.verdict is Verdict.PARTIAL
    assert (told.verdict is Verdict.HELD) == (action == "kill"), (
        told.story()
    )  # of an error its words are asked for


def test_a_fault_of_the_rank_does_not_strike_in_its_children(two_ranks, tmp_path):
    run = two_ranks.run(forks, tmp_path, plan=f"{WORK}@1#2-=raise(ValueError); {WORK}(child)@0=delay(0)")
    assert {fired.rank for fired in run.fired} == {0}
    assert run.verdict is Verdict.INERT


def stands_still(directory):
    """A child that stands still is ended after a while; that is told."""
    pid = os.fork()
    if pid == 0:
        work(1)
        os._exit(0)
    if dist.get_rank() == 0:
        return os.waitpid(pid, 0)[1]
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT | os.WEXITED)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def test_a_child_is_stopped_and_its_rank_goes_on(two_ranks, tmp_path):
    run = two_ranks.run(stands_still, tmp_path, plan=f"{WORK}(child)@1=stop")
    assert {rank: outcome.value for rank, outcome in run.outcomes.items()} == {0: 0, 1: signal.SIGKILL}


def leaves_one_behind(directory):
    pid = os.fork()
    if pid == 0:
        signal.pause()
    (directory / f"pid{dist.get_rank()}").write_text(str(pid))


def test_nothing_that_a_rank_has_started_is_left_when_the_run_ends(two_ranks, tmp_path):
    run = two_ranks.run(leaves_one_behind, tmp_path, plan=f"{WORK}(child)=delay(0)", may_not_fire=True)
    assert run.verdict is Verdict.LEAKED
    for file in tmp_path.iterdir():
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(int(file.read_text()))
            ended, _, _ = select.select([process], [], [], SECONDS_MAX)
            os.close(process)
            assert ended


# -- what saves in a child is an attempt -----------------------------------------------------------


def save_alone(directory):
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")
    dcp.save({"weight": torch.ones(3)}, checkpoint_id=directory, no_dist=True)


def saves_in_a_child(directory, tells=False):
    save_alone(directory / f"own{dist.get_rank()}")
    process = multiprocessing.get_context("fork").Process(
        target=save_alone, args=(directory / f"child{dist.get_rank()}",)
    )
    process.start()
    process.join()
    status = process.exitcode
    process.close()
    if tells and status:
        raise ChildProcessError(f"the process that saves ended with {status}")
    save_alone(directory / f"again{dist.get_rank()}")
    return status


def test_a_save_in_a_child_is_an_attempt_of_its_rank(two_ranks, tmp_path):
    from faultkit.checks.analysis import account_of

    run = two_ranks.run(saves_in_a_child, tmp_path, plan="writer.write_data(child)@1=raise(ValueError)")
    assert {rank: outcome.value for rank, outcome in run.outcomes.items()} == {0: 0, 1: 1}
    [fired] = run.fired
    assert (fired.rank, fired.child, fired.step) == (1, True, "write")
    saves = [
        (attempt.number, {rank: seen.kind for rank, seen in attempt.observations.items()})
        for attempt in account_of(run).attempts
        if 1 in attempt.members
    ]
    assert saves == [(1, {1: "returned"}), (2, {1: "raised"}), (3, {1: "returned"})]
    assert run.verdict is Verdict.HELD, run.story()


def test_a_save_whose_process_died_is_told_by_its_rank_or_lost(two_ranks, tmp_path):
    plan = "writer.write_data(child)@1=kill"
    told = two_ranks.run(saves_in_a_child, tmp_path / "told", True, plan=plan)
    silent = two_ranks.run(saves_in_a_child, tmp_path / "silent", plan=plan)
    assert told.outcomes[1].kind == "raised"
    assert told.verdict is Verdict.HELD, told.story()
    assert silent.outcomes[1].value == -signal.SIGKILL
    assert silent.verdict is Verdict.PARTIAL, silent.story()


# -- begun anew ------------------------------------------------------------------------------------


class Squares(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return work(index)


def reads_data(directory):
    return [int(batch) for batch in torch.utils.data.DataLoader(Squares(), num_workers=1)]


def test_workers_of_a_data_loader_are_children(tmp_path):
    with World(1) as world:
        run = world.run(reads_data, tmp_path, plan=f"{WORK}(child)#2=returns(None)")
        assert [(fired.call, fired.child) for fired in run.fired] == [(2, True)]
        assert run.outcomes[0].kind == "raised"
        assert "NoneType" in run.outcomes[0].message


def state():
    rank = dist.get_rank()
    return {f"{name}{rank}": torch.full((4, 4), float(at)) for at, name in enumerate("abc")}


def by_process(directory):
    dcp.async_save(
        state(),
        storage_writer=dcp.FileSystemWriter(directory),
        async_checkpointer_type=AsyncCheckpointerType.PROCESS,
    ).result()


OF_2_13 = pytest.mark.skipif(not torch.__version__.startswith("2.13"), reason="seen with torch 2.13")


@OF_2_13
@pytest.mark.parametrize(
    ("plan", "verdict"),
    [
        ('fs.write("*.distcp", child)@1#1=raise(OSError, ENOSPC)', "HELD"),
        ("writer.write_data(child)@1=shorten", "LOST_WORK"),
    ],
)
def test_the_daemon_of_an_asynchronous_save_meets_faults_in_the_save_of_its_rank(tmp_path, plan, verdict):
    with World(2) as world:
        run = world.run(by_process, tmp_path, plan=plan, checkpoint_at=tmp_path)
    assert [(fired.rank, fired.child, fired.step) for fired in run.fired] == [(1, True, "write")]
    begun = [event.rank for event in run.events if event.kind == "attempt_begin"]
    assert sorted(begun) == [0, 1]  # the save of the daemon is none of its own
    if verdict == "HELD":
        assert all(outcome.failures.keys() == {1} for outcome in run.outcomes.values())
    assert run.verdict == verdict, run.story()


@OF_2_13
def test_a_daemon_that_was_killed_stays_dead_and_every_later_save_fails(tmp_path):
    with World(1) as world:
        plan = "writer.write_data(child)=kill"
        run = world.run(by_process, tmp_path, plan=plan, attempts_after=1)
    assert [(fired.child, fired.step) for fired in run.fired] == [(True, "write")]
    assert "process is dead" in run.outcomes[0].message
    assert [outcome.kind for outcome in run.attempts_after[0]] == ["raised"]
    # what was on its way to it may stay in shared memory as well
    assert Verdict.UNUSABLE in [one.verdict for one in run.violations if one.check == "recovery"], run.story()


@OF_2_13
def test_a_daemon_that_stands_still_holds_its_rank_for_ever(tmp_path):
    with World(1, timeout=SECONDS_MAX if SECONDS_MAX < 12 else 12) as world:
        run = world.run(by_process, tmp_path, plan="writer.write_data(child)=stop")
    assert run.verdict is Verdict.HUNG, run.story()  # although it was stopped by plan: its rank must notice


@OF_2_13
def test_a_daemon_finds_no_port_and_no_process(two_ranks, tmp_path):
    for plan in ("daemon.port=raise(OSError, EADDRINUSE)", "daemon.address=raise(RuntimeError)"):
        run = two_ranks.run(by_process, tmp_path, plan=plan)
        assert {outcome.kind for outcome in run.outcomes.values()} == {"raised"}
        assert run.verdict is Verdict.HELD, run.story()


# -- in a plan -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "writer.write_data(child)@1=kill(SIGKILL)",
        'fs.write("*.distcp", child)#2=raise(OSError, ENOSPC)',
        f"{WORK}(child):after@0-1=hang",
        "executor.execute_save(child):future=hang",
    ],
)
def test_children_have_an_address_in_a_plan(text):
    plan = FaultPlan.parse(text)
    assert str(plan) == text
    assert FaultPlan.from_json(plan.to_json()) == plan
    assert plan.faults[0].in_child


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("writer.write_data(helper)=hang", "no role but 'child'"),
        ('writer.write_data("x", child)=hang', "takes no path"),
        ("clock.millisecond(child)#3=kill", "a child process keeps none"),
        (
            "writer.write_data(child)=stop(0.5)",
            r"nobody continues one that is stopped; nearest is delay\(0.5\)",
        ),
        ("writer.write_data(child)=raise(ValueError, leave)", "nearest is the same without leave"),
    ],
)
def test_what_a_child_cannot_have_is_refused_in_one_line(text, says):
    with pytest.raises(PlanError, match=says):
        FaultPlan.parse(text)


def test_simulated_ranks_have_no_children():
    with (
        World(2, kind="simulated") as world,
        pytest.raises(PlanError, match="it is a thread, and has no child processes; nearest is"),
    ):
        world.run(forks, plan=f"{WORK}(child)=kill")
