import pytest

from faultkit.checks import Verdict, analyse, examine
from faultkit.runs.outcomes import Died, ErrorRecord
from tests.helpers.finished_runs import Recording, checkpoint_error, injected, reported_save, successful

PLAN = "writer.write_data@2=raise(ValueError)"
LOST = ErrorRecord(type_name="RuntimeError", message="Connection closed by peer")
TWO = "writer.write_data@1=raise(ValueError); writer.write_data@2=raise(KeyError)"


def attributed(run):
    return examine(run, "attribution")


def test_all_ranks_that_failed_in_the_step_must_be_named():
    assert attributed(reported_save(TWO, step="write", fired_on={1: 0, 2: 1}).run()) == ()
    told = {1: injected(TWO, 0)}
    [violation] = attributed(reported_save(TWO, step="write", fired_on={1: 0, 2: 1}, told=told).run())
    assert violation.verdict is Verdict.MISATTRIBUTED
    assert violation.ranks == (0, 1, 2, 3)
    assert "expected of save 1: ranks 1, 2 failed in step 'write'" in violation.evidence
    assert (
        "seen: ranks 0-3 learned of CheckpointException in step 'write' naming rank 1" in violation.evidence
    )


def test_nobody_else_may_be_named():
    told = {2: injected(PLAN), 3: ErrorRecord(type_name="OSError")}
    [violation] = attributed(reported_save(PLAN, step="write", fired_on={2: 0}, told=told).run())
    assert violation.verdict is Verdict.MISATTRIBUTED


def test_the_step_must_be_the_one_in_which_the_fault_fired():
    told_to = {rank: checkpoint_error("plan", {2: injected(PLAN)}) for rank in range(4)}
    [violation] = attributed(reported_save(PLAN, step="write", fired_on={2: 0}, told_to=told_to).run())
    assert (
        "failed in step 'write'; seen: ranks 0-3 learned of CheckpointException in step 'plan'"
        in violation.evidence
    )


def test_the_earliest_failing_step_counts():
    plan = "planner.create_local_plan@1=raise(ValueError); writer.write_data@2=raise(KeyError)"
    recording = Recording(plan).begin(range(4)).enter(range(4), "plan").fire(1, 0, step="plan")
    recording.leave(range(4), "plan").enter(range(4), "write").fire(2, 1, step="write")
    error = checkpoint_error("write", {2: injected(plan, 1)})
    run = recording.end(range(4), error).raised(range(4), error).run()
    [violation] = attributed(run)
    assert "expected of save 1: rank 1 failed in step 'plan'" in violation.evidence
    assert analyse(run).attempts[0].failed_ranks == (1,)


def test_an_error_that_names_no_rank_names_the_wrong_ones():
    other = ErrorRecord(type_name="TypeError", message="cannot pickle")
    recording = reported_save(PLAN, step="write", fired_on={2: 0}, told_to={1: other})
    [violation] = attributed(recording.run())
    assert violation.ranks == (1,)
    assert "TypeError: cannot pickle, which names no rank" in violation.evidence


@pytest.mark.parametrize("group", [[1, 3], None])
@pytest.mark.parametrize(
    ("key", "verdicts"), [(1, []), (0, [Verdict.MISATTRIBUTED]), (3, [Verdict.MISATTRIBUTED])]
)
def test_failures_are_keyed_by_the_rank_in_the_group(group, key, verdicts):
    plan = "writer.write_data@3=raise(ValueError)"
    recording = Recording(plan).begin([1, 3], group=group).enter([1, 3], "write").fire(3, step="write")
    error = checkpoint_error("write", {key: injected(plan)})
    run = recording.end([1, 3], error).raised([1, 3], error).run()
    assert [violation.verdict for violation in attributed(run)] == verdicts


@pytest.mark.parametrize("event", [True, False])
def test_an_error_that_nobody_reported_is_partial(event):
    recording = Recording(PLAN).begin(range(4)).enter(range(4), "write").fire(2, step="write", event=event)
    recording.leave(range(4), "write").end(range(4))
    [violation] = attributed(recording.run())
    assert violation.verdict is Verdict.PARTIAL
    assert violation.ranks == (0, 1, 2, 3)
    assert (
        "rank 2's raise(ValueError) at writer.write_data in step 'write' was reported to nobody: "
        "ranks 0-3 say that save 1 succeeded"
    ) in violation.evidence


def test_an_error_that_a_later_call_made_good_needs_no_report():
    plan = "reader.read_metadata@2#1=raise(OSError)"
    recording = Recording(plan).begin(range(4), "load").enter(range(4), "plan").fire(2, step="plan")
    recording.called(2, "reader.read_metadata", 2).leave(range(4), "plan").end(range(4), op="load")
    assert examine(recording.run()) == ()


@pytest.mark.parametrize(
    ("rank", "point", "call", "ok"),
    [(1, "reader.read_metadata", 2, True), (2, "reader.reset", 2, True),
     (2, "reader.read_metadata", 1, True), (2, "reader.read_metadata", 2, False)],
)  # fmt: skip
def test_another_call_makes_nothing_good(rank, point, call, ok):
    plan = "reader.read_metadata@2#1=raise(OSError)"
    recording = Recording(plan).begin(range(4), "load").enter(range(4), "plan").fire(2, step="plan")
    recording.called(rank, point, call, ok).leave(range(4), "plan").end(range(4), op="load")
    assert [violation.verdict for violation in attributed(recording.run())] == [Verdict.PARTIAL]


def test_a_call_in_a_later_step_makes_nothing_good():
    plan = "fs.exists@2#1=raise(OSError)"
    recording = Recording(plan).begin(range(4)).enter(range(4), "plan").fire(2, step="plan")
    recording.leave(range(4), "plan").enter(range(4), "write").called(2, "fs.exists", 2).end(range(4))
    assert [violation.verdict for violation in attributed(recording.run())] == [Verdict.PARTIAL]


def test_a_handled_error_may_be_reported_all_the_same():
    plan = "fs.create_stream@1#1=raise(OSError)"
    recording = Recording(plan).begin(range(4)).enter(range(4), "write").fire(1, step="write")
    recording.called(1, "fs.create_stream", 2)
    error = checkpoint_error("write", {1: injected(plan)})
    assert examine(recording.end(range(4), error).raised(range(4), error).run()) == ()


def test_an_engine_without_steps_must_not_hide_an_error_either():
    [violation] = attributed(Recording(PLAN).fire(2).run())
    assert violation.verdict is Verdict.PARTIAL
    assert "say that the run succeeded" in violation.evidence


def test_an_engine_without_steps_that_names_ranks_must_name_the_right_ones():
    right = checkpoint_error("", {2: injected(PLAN)})
    wrong = checkpoint_error("", {1: injected(PLAN)})
    assert attributed(Recording(PLAN).fire(2).raised(range(4), right).run()) == ()
    [violation] = attributed(Recording(PLAN).fire(2).raised(range(4), wrong).run())
    assert violation.verdict is Verdict.MISATTRIBUTED


def test_of_an_error_in_a_collective_nobody_expects_names():
    plan = "comm.gather_object@2=raise(ValueError)"
    recording = Recording(plan).begin(range(4)).enter(range(4), "plan").fire(2, step="plan")
    recording.end([2], injected(plan)).raised([2], injected(plan)).hung([0, 1, 3])
    assert attributed(recording.run()) == ()
    assert [violation.check for violation in examine(recording.run())] == ["liveness"]


def test_after_a_planned_death_nobody_expects_names():
    recording = Recording("writer.write_data@2=kill; writer.write_data@1=raise(ValueError)")
    recording.begin(range(4)).enter(range(4), "write").fire(2, 0, step="write").fire(1, 1, step="write").died(
        [2]
    )
    lost = ErrorRecord(type_name="RuntimeError", message="Connection closed by peer")
    assert attributed(recording.end([0, 1, 3], lost).raised([0, 1, 3], lost).run()) == ()


def test_an_error_in_a_collective_must_not_be_told_as_that_of_another_rank():
    plan = "comm.gather_object@2=raise(ValueError)"
    for named, wrong in ((2, 0), (1, 1)):
        recording = Recording(plan).begin(range(4)).enter(range(4), "plan").fire(2, step="plan")
        told = checkpoint_error("plan", {named: injected(plan)})
        found = attributed(recording.end(range(4), told).raised(range(4), told).run())
        assert [violation.verdict for violation in found] == [Verdict.MISATTRIBUTED] * wrong
    assert "the error of rank 2 was told as that of rank 1 in save 1" in found[0].evidence


def test_after_a_planned_death_an_error_must_not_be_told_as_that_of_another_rank():
    plan = "writer.write_data@1=raise(ValueError); writer.write_data@3=kill"
    for named, wrong in ((1, 0), (0, 1)):
        recording = Recording(plan).begin(range(4)).enter(range(4), "write")
        recording.fire(1, 0, step="write").fire(3, 1, step="write").died([3])
        told = checkpoint_error("write", {named: injected(plan), 2: LOST})
        found = attributed(recording.end(range(3), told).raised(range(3), told).run())
        assert [violation.verdict for violation in found] == [Verdict.MISATTRIBUTED] * wrong


@pytest.mark.parametrize(("action", "lose"), [("kill", "died"), ("hang", "hung")])
def test_a_success_without_a_rank_that_was_lost_inside_a_step_is_partial(action, lose):
    recording = Recording(f"writer.write_data@2={action}").begin(range(4)).enter(range(4), "write")
    recording.fire(2, step="write").end([0, 1, 3])
    getattr(recording, lose)([2])
    [violation] = attributed(recording.run())
    assert violation.verdict is Verdict.PARTIAL
    assert violation.ranks == (0, 1, 3)


@pytest.mark.parametrize("moment", ["", ":after"])
def test_a_rank_lost_in_the_last_collective_is_missed_too(moment):
    recording = Recording(f"comm.broadcast_object{moment}@2=kill").begin(range(4)).enter(range(4), "write")
    [violation] = attributed(recording.fire(2, step="write").end([0, 1, 3]).died([2]).run())
    assert violation.verdict is Verdict.PARTIAL and violation.ranks == (0, 1, 3)


@pytest.mark.parametrize(("died", "verdicts"), [([0], [Verdict.PARTIAL]), ([], [])])
def test_an_error_that_ended_its_rank_inside_a_step_is_missed_like_a_death(died, verdicts):
    plan = "comm.broadcast_object:after@0=raise(SystemExit)"
    recording = Recording(plan).begin(range(4)).enter(range(4), "write").fire(0, step="write")
    recording.end([0], injected(plan)).end([1, 2, 3] if died else [], None)
    if not died:  # everybody learned of it
        recording.end([1, 2, 3], injected(plan)).raised([1, 2, 3], injected(plan))
    run = recording.died([0], None, 1).run()
    assert [violation.verdict for violation in attributed(run)] == verdicts


TOO_LARGE = ErrorRecord(type_name="OSError", message="[Errno 27] File too large", errno=27)


@pytest.mark.parametrize(
    ("error", "verdicts"),
    [
        (TOO_LARGE, {1: [], 0: [Verdict.MISATTRIBUTED]}),
        (ErrorRecord(type_name="OSError", message="no such shard"), {1: [], 0: []}),  # a consequence
    ],
)
def test_a_limit_must_not_be_told_as_met_by_a_rank_that_has_none(error, verdicts):
    for named, expected in verdicts.items():
        recording = Recording("fs.mkdir@1=limit(100)", 2).fire(1).begin(range(2)).enter(range(2), "write")
        told = checkpoint_error("write", {named: error})
        run = recording.end(range(2), told).raised(range(2), told).run()
        assert [violation.verdict for violation in attributed(run)] == expected


def test_that_the_launcher_ended_one_who_waited_excuses_none_that_took_it_for_a_success():
    recording = Recording("comm.broadcast_object@2=kill").begin(range(4)).enter(range(4), "write")
    recording.fire(2, step="write").died([2]).end([1, 3])
    [violation] = attributed(recording.outcome([0], Died("SIGTERM", by="launcher")).run())
    assert violation.verdict is Verdict.PARTIAL and violation.ranks == (1, 3)


def test_a_rank_lost_after_the_step_need_not_be_missed():
    recording = Recording("app.load_state_dict@2=kill").begin(range(4), "load").enter(range(4), "read")
    recording.leave(range(4), "read").fire(2).end([0, 1, 3], op="load").died([2])
    assert attributed(recording.run()) == ()


def test_a_rank_is_not_lost_to_a_delay_before_its_end():
    plan = "writer.write_data@2#1=delay(0.1); writer.write_data@2#2=kill"
    recording = Recording(plan).begin(range(4)).enter(range(4), "write").fire(2, 0, step="write")
    recording.leave(range(4), "write").end(range(4)).begin(range(4), attempt=2).enter(range(4), "write")
    recording.fire(2, 1, step="write", call=2).died([2])
    lost = recording.end([0, 1, 3], LOST, attempt=2).raised([0, 1, 3], LOST)
    assert attributed(lost.run()) == ()


def test_nothing_is_demanded_of_a_success():
    assert attributed(successful().run()) == ()
