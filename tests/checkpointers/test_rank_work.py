"""The scenarios of a checkpointer, run once with nothing broken: what was given is what is then read."""

from __future__ import annotations

import msgspec
import pytest

from faultkit import FaultPlan, checkpointers
from faultkit.scenarios.derived import derive
from faultkit.scenarios.stage import Stage
from faultkit.sweep import sweep
from tests.helpers import own_checkpointers, planted_checkpointers

pytestmark = pytest.mark.slow
REFERENCE = checkpointers.get("reference")


def half_read(directory):
    found = REFERENCE.read(directory)
    return found and {**found, "weight": found["weight"] * 0}


def short_read(directory):
    found = REFERENCE.read(directory)
    return found and {
        name: value[:0] if getattr(value, "shape", ()) else value for name, value in found.items()
    }


READERS = {
    "its own read": (REFERENCE, "HELD"),
    "its load on one rank": (msgspec.structs.replace(REFERENCE, read=None), "HELD"),
    "a read that is wrong": (msgspec.structs.replace(REFERENCE, read=half_read), "SILENT_WRONG"),
    "a read of smaller tensors": (msgspec.structs.replace(REFERENCE, read=short_read), "SILENT_WRONG"),
}


@pytest.mark.parametrize("how", READERS)
def test_what_a_save_was_given_is_compared_with_what_is_read(pair, how):
    checkpointer, verdict = READERS[how]
    with Stage(derive(checkpointer, "save")) as stage:
        run = stage.run(pair)

    assert str(run.verdict) == verdict, run.story()


def test_what_reads_in_one_process_is_read_in_one_also_where_a_load_needs_as_many_ranks_as_saved():
    alike = msgspec.structs.replace(REFERENCE, reshards=False)
    assert derive(alike, "save").load_ranks == 1
    assert derive(msgspec.structs.replace(alike, read=None), "save").load_ranks == 0


def test_a_job_whose_failed_save_is_there_goes_on_from_it_and_from_no_other_state():
    plan = FaultPlan.parse("fs.stat@0=raise(OSError, EIO)")  # comes after the rename that publishes
    work = f"{planted_checkpointers.__name__}:PLANTED.resume"
    [result] = sweep(work, world=2, plans=[plan], attempts_after=1).results
    assert result.fired and str(result.verdict) == "HELD"
    [wrong] = sweep(
        f"{own_checkpointers.__name__}:MINE.resume,defect=names_another_step", world=2, plans=[FaultPlan()]
    ).results
    assert str(wrong.verdict) == "SILENT_WRONG"


@pytest.mark.parametrize("attempts_after", [0, 1])
def test_a_save_that_failed_and_then_succeeded_is_judged_as_the_one_that_succeeded(pair, attempts_after):
    with Stage(derive(checkpointers.get("dcp"), "resume")) as stage:
        stage.attempts_after = attempts_after
        run = stage.run(pair, "writer.finish@0=raise(ValueError)")
    [found] = run.readbacks
    assert (found.succeeded, found.is_new) == (((0, 1), True) if attempts_after else ((), False))
    assert str(run.verdict) == "HELD", run.story()
