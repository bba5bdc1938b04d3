"""The check `same`: another reader of the format gives what was saved, or the run says that it does not."""

from __future__ import annotations

import pytest

from faultkit import FaultPlan, checks
from faultkit.runs.readback import OtherReading, Readback
from faultkit.sweep import sweep
from tests.helpers.finished_runs import successful

PLANTED = "tests.checkpointers.planted.resharding:MINE.save"
SAVED = {"path": "/there", "kind": "loaded", "attempt": 1, "succeeded": (0, 1), "wrong": ()}


def found(*others, **changes):
    readbacks = (Readback(**{**SAVED, **changes}, others=others),)
    run = successful(size=2).run(readbacks=readbacks)
    return [(str(one.verdict), one.evidence) for one in checks.examine(run, "same")]


def test_a_reader_that_finds_the_same_holds():
    assert found() == []


def test_what_another_reader_gives_as_something_else_is_silent_wrong():
    [(verdict, evidence)] = found(OtherReading("export", wrong=("weight", "step")))
    assert verdict == "SILENT_WRONG"
    assert (
        "it loads as it was saved, but the reader 'export' gives 'weight', 'step' as something else"
        in evidence
    )


def test_what_another_reader_cannot_read_is_lost_work():
    [(verdict, evidence)] = found(OtherReading("export", error="ValueError: no"))
    assert verdict == "LOST_WORK" and evidence.endswith("but the reader 'export' raises ValueError: no")


@pytest.mark.parametrize("changes", [{"succeeded": ()}, {"attempt": 0}, {"kind": "raised"}])
def test_of_a_save_that_nobody_was_told_of_nothing_follows(changes):
    assert found(OtherReading("export", error="ValueError: no"), **changes) == []


def verdict_of(defect):
    """What a save comes to with nothing broken, and the checks that say so."""
    [result] = sweep(f"{PLANTED},defect={defect}", world=2, plans=[FaultPlan()]).results
    return str(result.verdict), {one.check for one in result.violations}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("defect", "verdict"),
    [
        ("counts_evenly", "SILENT_WRONG"),
        ("leaves_out", "SILENT_WRONG"),
        ("finds_nothing", "LOST_WORK"),
        ("raises", "LOST_WORK"),
    ],
)
def test_a_general_run_finds_a_reader_that_does_not_give_what_was_saved(defect, verdict):
    assert verdict_of(defect) == (verdict, {"same"})


@pytest.mark.slow
@pytest.mark.parametrize("work", [PLANTED, "dcp.save", "torch-save.save,ranks=every", "dcp-hf.save"])
def test_its_twin_and_the_built_in_ones_hold(work):
    [result] = sweep(work, world=2, plans=[FaultPlan()]).results
    assert str(result.verdict) == "HELD", result.violations
