"""A load that failed leaves what it loads into as it was, or says that it does not."""

from __future__ import annotations

import pytest

from faultkit import FaultPlan, Verdict
from faultkit.checks import examine
from faultkit.injection.engine.overwritten import EVENT, says_so
from faultkit.runs.selection import Chosen
from faultkit.sweep import sweep
from tests.helpers import atomic_loads
from tests.helpers.atomic_loads import DEFECTS
from tests.helpers.finished_runs import successful

HERE = f"{atomic_loads.__name__}:ATOMIC.load"
UNREADABLE = 'fs.open("job.json")@1=raise(OSError, EIO)'
DAMAGED = 'fs.read("model.json")@1=flip'  # an even number of digits is still JSON


def failed_load(*events, chosen=()):
    built = successful(op="load", size=2)
    for rank, data in events:
        built.event(rank, EVENT, **{"by": "engine", "promised": False, "said": False, "count": 3, **data})
    return built.run(chosen=Chosen.of(chosen))


def test_what_was_promised_and_overwritten_is_a_violation_and_its_twins_are_none():
    event = {"by": "checkpointer", "promised": True, "leaves": ["model.weight"]}
    [violation] = examine(failed_load((0, event)), "atomicity")
    assert (violation.verdict, violation.ranks) == (Verdict.SILENT_WRONG, (0,))
    assert violation.evidence == (
        "the load raised on rank 0 and left overwritten: 'model.weight', of 3 leaves; its error does not say so"
    )
    for twin in ({"leaves": []}, {"said": True}, {"promised": False}):
        assert examine(failed_load((0, {**event, **twin})), "atomicity") == ()


def test_what_nobody_promised_is_one_where_somebody_asks():
    event = {"leaves": ["weight"]}
    assert examine(failed_load((1, event)), "atomicity") == ()
    [violation] = examine(failed_load((1, event), chosen=("atomicity",)), "atomicity")
    assert violation.ranks == (1,)


def test_a_checkpointer_that_puts_back_what_the_engine_left_holds():
    engine, own = {"leaves": ["weight"]}, {"by": "checkpointer", "promised": True, "leaves": []}
    assert examine(failed_load((0, engine), (0, own), chosen=("atomicity",)), "atomicity") == ()


def test_an_error_says_so_in_its_text_its_notes_or_what_it_comes_from():
    plain = RuntimeError("rank 1 failed")
    assert not says_so(plain) and not says_so(OSError("a partial read"))
    assert says_so(RuntimeError("the state is partially loaded"))
    noted = RuntimeError("rank 1 failed")
    noted.add_note("the model must not be used")
    assert says_so(noted)
    outer = RuntimeError("failed")
    outer.__cause__ = ValueError("left in an undefined state")
    assert says_so(outer)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("defect", "plan", "ranks"),
    [
        ("fills_as_it_reads", UNREADABLE, (0, 1)),
        ("fills_before_it_knows", UNREADABLE, (0,)),
        ("fills_before_it_looks", DAMAGED, (0, 1)),
    ],
)
def test_a_load_that_breaks_its_promise_is_found_and_its_twin_holds(defect, plan, ranks):
    plans = [FaultPlan.parse(plan)]
    [found] = sweep(f"{HERE},defect={defect}", world=2, plans=plans).results
    [violation] = [one for one in found.violations if one.check == "atomicity"]
    assert (found.verdict, violation.ranks) == (Verdict.SILENT_WRONG, ranks)
    assert "'model.weight', 'model.bias', of 3 leaves" in violation.evidence
    for twin in ("none", "says_so"):
        [held] = sweep(f"{HERE},defect={twin}", world=2, plans=plans).results
        assert not [one for one in held.violations if one.check == "atomicity"], held.violations


@pytest.mark.slow
def test_a_general_run_finds_every_defect_and_nothing_in_the_twin():
    run = {"world": 2, "points": ["fs.*"], "actions": ["raise(OSError, EIO)"]}
    found = {}
    for defect in (*DEFECTS, "none"):
        journal = sweep(f"{HERE},defect={defect}", **run)
        found[defect] = any(
            one.check == "atomicity" for result in journal.results for one in result.violations
        )
    assert found == {**dict.fromkeys(DEFECTS, True), "none": False}


@pytest.mark.slow
def test_the_stock_engine_loads_in_place_which_is_told_where_somebody_asks():
    plans = [FaultPlan.parse("reader.read_data@1=raise(ValueError)")]
    [asked] = sweep("dcp.load", world=2, plans=plans, checks=["atomicity"]).results
    [unasked] = sweep("dcp.load", world=2, plans=plans).results
    assert (asked.verdict, unasked.verdict) == (Verdict.SILENT_WRONG, Verdict.HELD)
