"""A failure that everybody waits longer for than is needed, on simulated ranks: their seconds cost none."""

import threading
import time

import pytest
import torch
import torch.distributed.checkpoint as dcp

from faultkit import World
from faultkit.processes.idleness import Sample, idle_between, of_process


@pytest.fixture(scope="module")
def four():
    with World(4, kind="simulated", timeout=60.0) as world:
        yield world


class Slow(dcp.FileSystemWriter):
    """Waits before it tells of its error, or after it."""

    seconds = 12.0

    def write_data(self, plan, planner):
        try:
            return super().write_data(plan, planner)
        except OSError:
            time.sleep(self.seconds)
            raise


def save(directory, seconds, before=0.0):
    time.sleep(before)
    writer = Slow(directory)
    writer.seconds = seconds
    dcp.save({"weight": torch.ones(8)}, storage_writer=writer)


def go_on(directory, times=1):
    """Saves, and waits after each save, whatever became of it."""
    for step in range(times):
        try:
            dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory / str(step))
        except dcp.CheckpointException:
            pass
        time.sleep(12.0)


def wait_and_pass_on(directory):
    try:
        dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)
    except dcp.CheckpointException:
        time.sleep(12.0)
        raise


def retry_by_itself(directory):
    """An engine of its own, which waits before it says that it gave up."""
    try:
        (directory / "shard").write_bytes(b"x")
    except OSError:
        time.sleep(12.0)
        raise


def try_again(directory):
    for wait_seconds in (1.0, 2.0, 4.0, 8.0, None):
        try:
            (directory / "shard").write_bytes(b"x")
            return
        except OSError:
            if wait_seconds is None:
                raise
            time.sleep(wait_seconds)


FAIL = "writer.write_data@2=raise(OSError, ENOSPC)"


def test_a_failure_that_everybody_waits_for_is_late(four, tmp_path):
    run = four.run(save, tmp_path, 12.0, plan=FAIL)
    [violation] = run.violations
    assert (violation.verdict, violation.check, violation.ranks) == ("LATE", "liveness", (0, 1, 2, 3))
    assert "had waited 12 s with nothing to do, since rank 2's raise(OSError, ENOSPC)" in violation.evidence
    assert run.story().startswith("LATE: everybody waited longer than was needed\n")


@pytest.mark.parametrize(
    ("arguments", "plan"),
    [
        ((3.0,), FAIL),  # short enough
        ((0.0, 12.0), FAIL),  # before the fault
        ((0.0,), "writer.write_data@2=delay(12)"),  # the fault itself takes it
        ((0.0, 12.0), ""),  # nothing was broken
    ],
)
def test_what_is_needed_or_planned_is_not_late(four, tmp_path, arguments, plan):
    run = four.run(save, tmp_path, *arguments, plan=plan)
    assert run.verdict == "HELD", run.story()


@pytest.mark.parametrize("plan", [FAIL, "writer.write_data@*#1=delay(0)", "writer.write_data@2=delay(0.1)"])
def test_what_a_function_that_goes_on_waits_for_is_not_late(four, tmp_path, plan):
    run = four.run(go_on, tmp_path, 2, plan=plan)
    assert len(run.fired) >= 1 and run.verdict == "HELD", run.story()


@pytest.mark.parametrize(
    ("function", "plan"), [(wait_and_pass_on, FAIL), (retry_by_itself, "fs.open@*=raise(OSError, EIO)")]
)
def test_an_error_that_is_passed_on_late_is_late(four, tmp_path, function, plan):
    run = four.run(function, tmp_path, plan=plan)
    assert run.verdict == "LATE", run.story()


@pytest.mark.parametrize("calls", ["", "#1", "#1-4"])
def test_who_tries_again_later_and_later_is_not_late(four, tmp_path, calls):
    run = four.run(try_again, tmp_path, plan=f"fs.open@*{calls}=raise(OSError, EIO)")
    assert run.verdict == "HELD" and len(run.fired) >= 1, run.story()


def test_a_point_that_is_only_watched_makes_nobody_late(four, tmp_path):
    def write_and_wait(directory):
        (directory / "shard").write_bytes(b"x")
        time.sleep(12.0)

    assert four.run(write_and_wait, tmp_path, plan="fs.open@*=delay(0)").verdict == "HELD"


def test_work_and_queues_are_no_idle_time():
    began = Sample(100.0, 5.0, 2.0)
    assert idle_between(began, Sample(112.0, 5.0, 2.0)) == 12.0
    assert idle_between(began, Sample(112.0, 11.0, 6.0)) == 2.0
    assert idle_between(began, Sample(112.0, 16.0, 9.0)) == 0.0, "work of several threads"


def test_a_process_that_works_is_not_idle(monkeypatch):
    monkeypatch.setattr("faultkit.processes.idleness.WAITED_SECONDS_MIN", 0.0)
    ask = of_process()
    ends = time.process_time() + 0.2
    helper = threading.Thread(target=lambda: [None for _ in iter(lambda: time.process_time() < ends, False)])
    helper.start()
    helper.join()
    assert ask() < 0.1, "what a helper thread works counts, however long it had to wait for a processor"
