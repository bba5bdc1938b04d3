"""After a job that its launcher ended, the next start is tried: it must recover from what was left."""

from __future__ import annotations

import json
import os

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import FaultPlan, Verdict
from faultkit.report.matrix import groups_of
from faultkit.scenarios import Scenario, WrongContent
from faultkit.sweep import sweep

pytestmark = pytest.mark.slow

KILL = "writer.reset@1=kill(SIGKILL)"


def _save(directory):
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)


def save_under_a_lock(directory):
    """What a killed save leaves locks out every one that follows."""
    lock = directory / f"lock-{dist.get_rank()}"
    os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
    _save(directory / "checkpoint")
    lock.unlink()


def save_under_a_lock_that_is_taken_over(directory):
    lock = directory / f"lock-{dist.get_rank()}"
    os.close(os.open(lock, os.O_CREAT))
    _save(directory / "checkpoint")
    lock.unlink()


def save_once(directory):
    (directory / f"place-{dist.get_rank()}").mkdir()
    _save(directory / "checkpoint")


def go_on_from_parts(directory):
    """Each rank goes on from its own part, of whichever save that is."""
    dist.barrier()
    parts = sorted(directory.glob("part-*"))
    if len(parts) == 1:
        raise WrongContent("the parts are of two saves")
    dist.barrier()
    (directory / f"part-{dist.get_rank()}").write_text("x")


def swept(function, kind, *texts, **options):
    name = f"{__name__}:{function.__name__}" if callable(function) else function
    plans = [FaultPlan.parse(text) for text in texts]
    return sweep(name, world=2, kind=kind, plans=plans, stories=True, **options)


@pytest.mark.parametrize("kind", ["warm", "simulated"])
def test_a_job_that_cannot_be_started_again_is_told(kind):
    (result,) = swept(save_under_a_lock, kind, KILL).results

    assert result.verdict is Verdict.UNUSABLE
    (violation,) = result.violations
    assert violation.check == "recovery" and violation.evidence.startswith("the next start, of new ranks")
    assert "FileExistsError" in violation.evidence
    assert "What the next start then came to" in result.story


@pytest.mark.parametrize("kind", ["warm", "simulated"])
def test_a_job_that_recovers_holds(kind):
    journal = swept(save_under_a_lock_that_is_taken_over, kind, KILL)

    assert journal.held and journal.starts_again is True
    assert "ranks 0-1 returned" in journal.results[0].story.replace("0, 1", "0-1")


def test_a_start_that_goes_on_from_wrong_content_is_told_as_that():
    kill = 'fs.open("part-1")@1=kill(SIGKILL)'
    (result,) = swept(go_on_from_parts, "warm", kill).results
    (violation,) = [one for one in result.violations if one.check == "recovery"]
    assert violation.verdict is result.verdict is Verdict.SILENT_WRONG
    assert "the parts are of two saves" in violation.evidence


def test_of_work_that_can_be_done_only_once_no_next_start_is_asked():
    journal = swept(save_once, "simulated", KILL)

    assert journal.held and journal.starts_again is False


def test_no_next_start_is_tried_where_nothing_has_failed_or_no_launcher_keeps_the_job():
    held = swept(save_under_a_lock, "simulated", "writer.write_data@1=raise(ValueError)")
    assert held.starts_again is None

    left_alone = swept(save_under_a_lock, "simulated", KILL, launcher="none")
    assert left_alone.starts_again is None and left_alone.held


WAITING = ("kill(SIGKILL)", "exit(1)")


def test_without_a_launcher_those_who_wait_for_the_dead_are_told_once():
    texts = [f"comm.gather_object@{rank}#1={action}" for rank in (1, 2) for action in WAITING]
    plans = [FaultPlan.parse(text) for text in texts]
    kept = sweep("dcp-save", world=4, kind="simulated", plans=plans)
    lonely = sweep("dcp-save", world=4, kind="simulated", plans=plans, launcher="none")

    assert kept.held and json.loads(kept.to_json())["launcher"] == "torchrun"
    assert lonely.totals == {"HUNG": len(plans)} and json.loads(lonely.to_json())["launcher"] == "none"
    (group,) = groups_of(lonely)
    assert group.title.startswith(f"{len(plans)} plans end a rank")
    assert all("--launcher none" in lonely.replay_command(result) for result in lonely.results)
    ended = {
        note.message for result in kept.results for note in result.outcomes.values() if note.kind == "died"
    }
    assert ended == {None, "ended by the launcher"}


def test_a_scenario_says_who_keeps_its_job_where_the_sweep_does_not():
    lonely = Scenario(name="lonely", function=_save, launcher="none")
    plans = [FaultPlan.parse("comm.gather_object@1#1=kill(SIGKILL)")]

    assert sweep(lonely, world=4, kind="simulated", plans=plans).totals == {"HUNG": 1}
    assert sweep(lonely, world=4, kind="simulated", plans=plans, launcher="torchrun").held
