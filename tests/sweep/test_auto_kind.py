"""Kind auto: what breaks a promise on simulated ranks is confirmed on processes, and a difference is a finding."""

from __future__ import annotations

import json

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

from faultkit import FaultPlan, Verdict
from faultkit.scenarios import of_function
from faultkit.sweep import sweep

pytestmark = pytest.mark.slow

HELD, HUNG = Verdict.HELD, Verdict.HUNG
WRITE, RESET, HELD_BY_ALL = (
    "writer.write_data@1=raise(ValueError)",
    "writer.reset@1=raise(ValueError)",
    "writer.finish@0=raise(ValueError)",
)


def is_simulated():
    return type(dist.distributed_c10d._get_default_group()) is not dist.ProcessGroup


def save_and_wait_for_nobody(directory, where):
    """Rank 0 never comes back from a failed write, but only on one kind of world."""
    try:
        dcp.save({"weight": torch.ones(4)}, checkpoint_id=directory)
    except CheckpointException as error:
        if 1 in error.failures and where == ("simulated" if is_simulated() else "processes"):
            dist.recv(torch.zeros(1), 1 - dist.get_rank())
        raise


def hangs_on_simulated_ranks(directory):
    save_and_wait_for_nobody(directory, "simulated")


def hangs_on_processes(directory):
    save_and_wait_for_nobody(directory, "processes")


def sweep_of(function, *texts, **options):
    plans = [FaultPlan.parse(text) for text in texts]
    return sweep(of_function(function), world=2, kind="auto", plans=plans, **options)


@pytest.fixture(scope="module")
def journal():
    return sweep_of(hangs_on_simulated_ranks, WRITE, RESET, HELD_BY_ALL)


def test_what_holds_on_simulated_ranks_is_not_run_again(journal):
    held = journal.results[2]
    assert (held.verdict, held.kind, held.simulated) == (HELD, "simulated", None)


def test_a_broken_promise_is_confirmed_and_told_as_processes_broke_it(journal):
    hung = journal.results[1]
    assert (hung.verdict, hung.kind, hung.simulated) == (HUNG, "fresh", HUNG)
    assert hung.confirmed and not hung.differs
    assert hung.story.startswith("HUNG") and hung.story.endswith("--kind fresh")


def test_a_difference_is_a_finding_with_both_verdicts_and_both_stories(journal):
    differs = journal.results[0]
    assert (differs.verdict, differs.simulated) == (HELD, HUNG)
    assert journal.differences == (differs,) and not differs.confirmed
    assert differs.story.startswith("the worlds differ: HUNG on simulated ranks, HELD on processes in 3 runs")
    assert differs.story.count("replay: ") == 2
    assert "--kind fresh" in differs.story and "--kind simulated" in differs.story


def test_the_json_has_both_verdicts(journal):
    found = json.loads(journal.to_json())
    assert found["kind"] == "auto"
    assert found["differences"] == 1
    assert [(plan["world"], plan["verdict"], plan["simulated"]) for plan in found["plans"]] == [
        ("fresh", "HELD", "HUNG"),
        ("fresh", "HUNG", "HUNG"),
        ("simulated", "HELD", None),
    ]


def test_a_difference_alone_is_no_success():
    journal = sweep_of(hangs_on_simulated_ranks, WRITE, HELD_BY_ALL, jobs=2)
    assert journal.totals == {"HELD": 2}
    assert not journal.held


def test_what_only_processes_break_is_not_looked_for():
    journal = sweep_of(hangs_on_processes, WRITE)
    assert journal.results[0].verdict is HELD


def test_a_plan_that_simulated_ranks_refuse_runs_on_processes():
    [result] = sweep_of(hangs_on_simulated_ranks, "writer.write_data@1=segfault").results
    assert (result.kind, result.simulated) == ("fresh", None)
    assert result.outcomes[1].type == "SIGSEGV"
