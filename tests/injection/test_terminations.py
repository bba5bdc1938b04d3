"""SIGTERM with a time of grace: who ends in time has ended by itself, who does not is killed."""

from __future__ import annotations

import signal
import sys
import threading

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import PlanError, World
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

LONG = SECONDS_MAX  # a grace that nobody in a test waits for
SHORT = 0.05


def state():
    return {f"weight{dist.get_rank()}": torch.ones(64)}


def job(directory, how):
    """A job that saves, and, told to end, waits for its save and leaves; or ignores it; or has no handler."""
    pending = []

    def leave(number, frame):
        for future in pending:
            future.result()
        sys.exit(7)

    if how == "leaves":
        signal.signal(signal.SIGTERM, leave)
    elif how == "ignores":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pending.append(dcp.async_save(state(), checkpoint_id=directory))
    if how == "ignores" and dist.get_rank() == 1:
        threading.Event().wait(SECONDS_MAX)
    pending[0].result()
    return how


@pytest.fixture(scope="module")
def two_ranks():
    with World(2) as world:
        yield world


@pytest.mark.parametrize(
    ("how", "grace", "end"),
    [
        ("leaves", LONG, "exit(7)"),
        ("ignores", SHORT, "SIGKILL"),
        ("has none", LONG, "SIGTERM"),
    ],
)
def test_a_rank_is_told_to_end_in_the_middle_of_an_asynchronous_save(two_ranks, tmp_path, how, grace, end):
    run = two_ranks.run(job, tmp_path, how, plan=f"executor.execute_save:after@1=terminate({grace})")
    assert [fired.rank for fired in run.fired] == [1]
    died = run.outcomes[1]
    assert died.kind == "died"
    assert end in (died.signal, f"exit({died.exitcode})")


def test_who_is_through_before_the_grace_is_over_goes_on_and_is_not_ended_later(two_ranks, tmp_path):
    for plan in (f"executor.execute_save:after=terminate({LONG})", ""):
        run = two_ranks.run(ignoring_save, tmp_path / f"of {plan[:4]}", plan=plan)
        assert {outcome.kind for outcome in run.outcomes.values()} == {"returned"}
        assert run.verdict == "HELD", run.story()


def ignoring_save(directory):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    dcp.async_save(state(), checkpoint_id=directory).result()


def test_simulated_ranks_have_no_grace():
    with World(2, kind="simulated") as world, pytest.raises(PlanError, match=r"nearest is kill\(SIGTERM\)"):
        world.run(job, "", "leaves", plan="executor.run=terminate(1)")
