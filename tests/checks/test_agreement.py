from faultkit.checks import Verdict, analyse, examine
from faultkit.runs.outcomes import ErrorRecord, Returned
from tests.helpers.finished_runs import Recording, checkpoint_error, injected, reported_save, successful

PLAN = "writer.write_data@2=raise(ValueError)"
LOST = ErrorRecord(type_name="RuntimeError", message="Connection closed by peer")


def agreeing(run):
    return examine(run, "agreement")


def test_ranks_that_take_a_failed_attempt_for_a_success_are_named():
    recording = Recording(PLAN).begin(range(4)).enter(range(4), "write").fire(2, step="write")
    recording.end([0, 3]).end([1, 2], checkpoint_error("write", {2: injected(PLAN)}))
    [violation] = agreeing(recording.run())
    assert violation.verdict is Verdict.PARTIAL
    assert violation.ranks == (0, 3)
    assert (
        "ranks 0, 3 took save 1 for a success and never learned that ranks 1, 2 failed" in violation.evidence
    )
    assert "ValueError" in violation.evidence


def test_each_attempt_is_compared_for_itself():
    recording = reported_save(PLAN, step="write", fired_on={2: 0}).outcome(range(4), Returned())
    recording.begin(range(4), attempt=2).end(range(4), attempt=2)
    assert agreeing(recording.run()) == ()


def test_an_error_after_the_last_collective_reaches_nobody_else():
    plan = "app.load_state_dict@2=raise(ValueError)"
    recording = successful(plan, op="load").fire(2).raised([2], injected(plan))
    [violation] = agreeing(recording.run())
    assert violation.verdict is Verdict.PARTIAL
    assert violation.ranks == (0, 1, 3)


def test_the_same_within_an_attempt_that_covers_the_application():
    plan = "app.load_state_dict@2=raise(ValueError)"
    recording = (
        Recording(plan).begin(range(4), "load").enter(range(4), "read").leave(range(4), "read").fire(2)
    )
    recording.end([2], injected(plan), "load").raised([2], injected(plan)).end([0, 1, 3], op="load")
    [violation] = agreeing(recording.run())
    assert violation.ranks == (0, 1, 3)


def test_engines_that_record_nothing_are_judged_by_the_outcomes():
    recording = Recording(PLAN).fire(2).raised([2], injected(PLAN))
    assert [violation.ranks for violation in agreeing(recording.run())] == [(0, 1, 3)]
    assert agreeing(recording.raised(range(4), injected(PLAN)).run()) == ()


def test_ranks_outside_of_the_group_of_an_attempt_need_not_know():
    recording = Recording(PLAN).begin([1, 2], group=[1, 2]).enter([1, 2], "write").fire(2, step="write")
    error = checkpoint_error("write", {1: injected(PLAN)})
    recording.end([1, 2], error).raised([1, 2], error)
    assert examine(recording.run()) == ()


def test_survivors_of_a_planned_death_may_fail_in_words_of_their_own():
    recording = Recording("writer.write_data@2=kill").begin(range(4)).enter(range(4), "write")
    recording.fire(2, step="write").died([2])
    other = ErrorRecord(type_name="RuntimeError", message="Connection reset by peer")
    recording.end([0, 1], LOST).end([3], other).raised([0, 1], LOST).raised([3], other)
    assert examine(recording.run()) == ()


def test_survivors_of_a_planned_death_must_still_agree_on_failure():
    recording = Recording("writer.finish:after@0=kill").begin(range(4)).enter(range(4), "write")
    recording.fire(0, step="write").died([0]).end([1, 2], LOST).raised([1, 2], LOST).end([3])
    [violation] = agreeing(recording.run())
    assert violation.ranks == (3,)


def test_stories_that_name_different_ranks_differ():
    told_to = {0: checkpoint_error("write", {1: injected(PLAN)})}
    recording = reported_save(PLAN, step="write", fired_on={2: 0}, told_to=told_to)
    [violation] = agreeing(recording.run())
    assert violation.verdict is Verdict.MISATTRIBUTED
    assert "rank 0 was told that rank 1 failed in step 'write'" in violation.evidence
    assert "ranks 1-3 were told that rank 2 failed in step 'write'" in violation.evidence


def test_an_assertion_of_the_function_is_not_for_the_engine_to_tell():
    recording = successful().raised([2], ErrorRecord(type_name="AssertionError", message="weights differ"))
    assert agreeing(recording.run()) == ()


def test_an_error_outside_of_attempts_is_compared_after_a_planned_death():
    recording = Recording("writer.write_data@2=kill").fire(2).died([2]).raised([0, 1], LOST)
    assert [violation.ranks for violation in agreeing(recording.run())] == [(3,)]
    recording.raised([0, 1], ErrorRecord(type_name="AssertionError", message="weights differ"))
    assert agreeing(recording.run()) == ()


def test_a_later_error_is_news_also_for_ranks_that_saw_an_earlier_attempt_fail():
    plan = f"{PLAN}; app.load_state_dict@1=raise(KeyError)"
    recording = reported_save(plan, step="write", fired_on={2: 0}).outcome(range(4), Returned())
    recording.fire(1, 1).raised([1], injected(plan, 1))
    [violation] = agreeing(recording.run())
    assert violation.ranks == (0, 2, 3)
    assert "took the rest of the run for a success" in violation.evidence


def test_an_error_after_which_its_rank_went_on_to_the_next_attempt_is_handled():
    plan = "app.load_state_dict@2#1=raise(ValueError)"
    recording = (
        successful(plan, op="load").fire(2).begin(range(4), "load", 2).end(range(4), op="load", attempt=2)
    )
    assert examine(recording.run()) == ()


def test_a_rank_whose_own_code_fails_is_no_member_of_an_attempt_that_did_without_it():
    recording = Recording().begin([0, 1]).end([0, 1])
    recording.raised([2], ErrorRecord(type_name="AssertionError", message="weights differ"))
    assert agreeing(recording.run()) == ()


def test_a_rank_that_failed_before_an_attempt_is_missed_in_it():
    plan = "app.state_dict@2=raise(ValueError)"
    recording = Recording(plan).fire(2).raised([2], injected(plan)).begin([0, 1, 3])
    recording.hung([1]).end([0]).end([3], LOST).raised([3], LOST)
    [violation] = agreeing(recording.run())
    assert violation.ranks == (0,)
    assert "took save 1 for a success and never learned that ranks 2, 3 failed" in violation.evidence
    assert examine(recording.run(), "recovery") == ()
    assert len(analyse(recording.run()).fired_faults) == 1
