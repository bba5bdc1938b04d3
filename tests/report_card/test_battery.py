"""What `check` tries on real checkpointers: each kind of trial finds its defect, and leaves the correct twin alone.

Trials are run by their first units, so that what is found does not depend on how fast the machine is.
"""

from __future__ import annotations

import contextlib
import itertools

import pytest

from faultkit.conformance import PROMISES, ReportCard, check
from faultkit.conformance.summary import result_of
from faultkit.conformance.trials.files import CrashTrial, DamageTrial
from faultkit.conformance.trials.lives import LifeTrial
from faultkit.conformance.trials.plans import PlanTrial
from faultkit.conformance.trials.restarts import RestartTrial
from faultkit.conformance.trials.resuming import ResumeTrial
from faultkit.conformance.trials.schedules import ScheduleTrial
from faultkit.conformance.trials.trial import Context
from faultkit.exceptions import ScenarioError
from tests.helpers import falling_back, own_checkpointers, three_bugs, wrong_trainings

pytestmark = pytest.mark.slow


def context(checkpointer, module=own_checkpointers, name="", **options):
    chosen = checkpointer.with_options(**options)
    words = "".join(f",{option}={value}" for option, value in options.items())
    return Context(
        checkpointer=chosen,
        text=f"{module.__name__}:{name or checkpointer.name.upper()}{words}",
        world_size=2,
        kind="auto",
        seed=0,
        timeout_seconds=20.0,
        limit_seconds=10.0,
    )


def first_units(trial, count):
    """What the first `count` units find; the trial is over then."""
    with contextlib.closing(trial):
        return [broken for found in itertools.islice(trial.units(), count) for broken in found]


def test_faults_find_an_error_that_a_rank_keeps_for_itself():
    found = first_units(PlanTrial(context(three_bugs.THREE, three_bugs, bugs="swallow"), "save"), 30)
    assert "ranks-learn" in {broken.promise for broken in found}
    assert all("tests.helpers.three_bugs:THREE.save,bugs=swallow" in broken.replay for broken in found)


def test_a_card_tells_three_bugs_of_one_manager_apart():
    given = context(three_bugs.THREE, three_bugs, bugs="pointer-swallow-prune")
    trials = [PlanTrial(given, "save"), CrashTrial(given, "save"), CrashTrial(given, "overwrite")]
    found = [
        broken
        for trial, count in zip(trials, (30, 2, 2), strict=True)
        for broken in first_units(trial, count)
    ]
    card = ReportCard(
        checkpointer=given.text,
        torch="2.13.0",
        faultkit="0",
        world_size=2,
        kind="auto",
        seed=0,
        budget_seconds=0,
        promises=tuple(result_of(name, three_bugs.THREE, trials, found) for name in PROMISES),
    )
    told = [(several[0].promise, several[0].identity.where.rpartition(".")[2]) for several in card.causes]
    assert ("ranks-learn", "") in told  # an error was reported to nobody
    assert {("crash", "_point_to"), ("crash", "_remove_all_but")} <= {*told}
    assert not card.held and card.grade.startswith("LOST_WORK")


def test_faults_leave_the_twin_alone():
    assert not first_units(PlanTrial(context(three_bugs.THREE, three_bugs), "save"), 30)


@pytest.mark.parametrize(
    ("word", "defect", "promise"),
    [("save", "forgets_a_leaf", "round-trip"), ("prune", "prunes_the_newest", "retention")],
)
def test_what_breaks_with_nothing_broken_is_told_as_that(word, defect, promise):
    trial = PlanTrial(context(own_checkpointers.MINE, defect=defect), word)
    assert promise in {broken.promise for broken in first_units(trial, 2)}
    assert trial.is_sound is False
    assert not trial.efforts("liveness")  # no fault was tried


def test_what_breaks_in_some_runs_and_not_in_others_is_told_as_flaky():
    trial = PlanTrial(context(own_checkpointers.MINE, defect="forgets_a_leaf_at_times"), "save")
    found = first_units(trial, 2)
    assert found and {broken.promise for broken in found} == {"round-trip"} and trial.flaky
    assert result_of("round-trip", own_checkpointers.MINE, [trial], found).is_flaky


def test_what_simulated_ranks_alone_cannot_do_is_tried_on_processes_and_not_held_against_it():
    given = context(own_checkpointers.MINE, defect="cannot_be_simulated")
    trial, orders = PlanTrial(given, "save"), ScheduleTrial(given, "save")
    assert not first_units(trial, 3) and trial.is_sound and trial.efforts("liveness")[0].total > 10
    assert not first_units(orders, 3) and "in no order of simulated ranks" in orders.notes[0]
    assert not orders.efforts("parity")


@pytest.mark.parametrize(
    ("work", "defect", "promise"),
    [("fallback", "raises_alone", "fallback"), ("prune", "counts_incomplete", "retention")],
)
def test_restarts_over_damage_find_who_comes_back_alone_and_leave_the_twin_alone(work, defect, promise):
    def found(**options):
        given = context(falling_back.FALLING_BACK, falling_back, "FALLING_BACK", **options)
        return first_units(RestartTrial(given, work), 1)

    broken = found(defect=defect)
    assert {one.promise for one in broken} == {promise} and not found()
    assert f"FALLING_BACK.{work},defect={defect} --actions" in broken[0].replay


@pytest.mark.parametrize("bugs", ["prune", "pointer"])
def test_crashes_find_what_is_written_in_the_wrong_order(bugs):
    word = "save" if bugs == "pointer" else "overwrite"
    found = first_units(CrashTrial(context(three_bugs.THREE, three_bugs, bugs=bugs), word), 2)
    assert {broken.promise for broken in found} == {"crash"}
    assert not first_units(CrashTrial(context(three_bugs.THREE, three_bugs), word), 2)


def test_damage_that_no_load_notices_is_told_and_where_there_are_checksums_none_is():
    [promise] = {broken.promise for broken in first_units(DamageTrial(context(own_checkpointers.MINE)), 1)}
    assert promise == "damage"


def test_lives_find_a_job_that_comes_back_to_the_oldest():
    found = first_units(LifeTrial(context(own_checkpointers.MINE, defect="loads_the_oldest")), 4)
    assert found and {broken.promise for broken in found} <= {"round-trip", "retention", "old-survives"}
    assert "faultkit history tests.helpers.own_checkpointers:MINE,defect=loads_the_oldest" in found[0].replay


def test_schedules_find_a_snapshot_that_is_late_in_any_order():
    trial = ScheduleTrial(context(own_checkpointers.LATER, defect="snapshot_is_late"), "async")
    assert {broken.promise for broken in first_units(trial, 3)} == {"snapshot"}
    assert not first_units(ScheduleTrial(context(own_checkpointers.LATER), "async"), 3)


def test_a_check_says_what_was_tried_and_that_the_rest_was_not():
    card = check(own_checkpointers.MINE, budget_seconds=1, world=2, promises=["damage", "snapshot", "crash"])
    assert {one.promise: one.verdict for one in card.promises if one.promise == "snapshot"} == {
        "snapshot": "NOT_APPLICABLE"
    }
    assert card.checkpointer == "tests.helpers.own_checkpointers:MINE"
    assert not card.is_complete and card.left_out


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"promises": ["crsh"]}, r"no promise matches 'crsh'.*'crash'"),
        ({"budget_seconds": -1}, "budget must be seconds from 0"),
        ({"jobs": 0}, "jobs must be a number"),
        ({"world": 0}, "must be a number of ranks from 1"),
        ({"kind": "wram"}, "warm"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(choices, told):
    with pytest.raises(ValueError, match=told):
        check("reference", **choices)


def test_what_is_no_checkpointer_is_refused():
    with pytest.raises(ScenarioError, match=r"must be a faultkit\.Checkpointer"):
        check(print)


@pytest.mark.parametrize("defect", ["moments_are_lost", "none"])
def test_a_training_that_is_resumed_finds_what_a_load_loses_and_leaves_the_twin_alone(defect):
    found = first_units(ResumeTrial(context(wrong_trainings.STOCK, wrong_trainings, defect=defect)), 1)
    assert [(broken.promise, broken.check) for broken in found] == [("resume", "resume")] * (defect != "none")
    for broken in found:
        assert "optimizer.exp_avg[0.weight] differs" in broken.evidence
        assert broken.replay == (
            "faultkit resume tests.helpers.wrong_trainings:STOCK,defect=moments_are_lost --world 2 --load-on 2 "
            "--steps 1,1 --timeout 20"
        )
