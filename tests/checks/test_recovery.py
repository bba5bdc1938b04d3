import msgspec
import pytest

from faultkit.checks import Verdict, examine
from faultkit.runs.outcomes import Died, ErrorRecord, Hung, Raised, Returned
from tests.helpers.finished_runs import Recording, checkpoint_error, injected, reported_save, successful

PLAN = "writer.write_data@2#1=raise(ValueError)"
FULL = ErrorRecord(type_name="OSError", message="[Errno 28] No space left on device", errno=28)
WRONG = ErrorRecord(type_name="AssertionError", message="weights differ")


def recovered(run):
    return examine(run, "recovery")


def test_work_in_which_nothing_was_injected_must_succeed():
    error = checkpoint_error("write", {1: FULL})
    recording = Recording().begin(range(4)).end(range(4), error).raised(range(4), error)
    [violation] = recovered(recording.run())
    assert violation.verdict is Verdict.UNUSABLE
    assert (
        "save 1 failed although nothing was injected: ranks 0-3 raised CheckpointException"
        in violation.evidence
    )


def test_a_delay_is_no_reason_to_fail():
    recording = Recording("writer.write_data=delay(0.1)").begin([0]).fire(0).end([0], FULL).raised([0], FULL)
    [violation] = recovered(recording.run())
    assert "although no fault made an error in it" in violation.evidence


def test_the_attempt_after_a_failed_one_must_succeed():
    recording = reported_save(PLAN, step="write", fired_on={2: 0}).begin(range(4), attempt=2)
    error = checkpoint_error("plan", {2: FULL})
    recording.end(range(4), error, attempt=2).raised(range(4), error)
    [violation] = recovered(recording.run())
    assert violation.evidence.startswith("save 2 failed")


TOO_LARGE = ErrorRecord(type_name="RuntimeError", message="unexpected pos 704 vs 598")  # of a native writer


def test_a_limit_explains_what_its_rank_raises_but_no_assertion():
    recording = Recording("fs.mkdir@1=limit(100)", 2).fire(1)
    assert recovered(recording.raised([1], TOO_LARGE).run()) == ()
    assert [violation.verdict for violation in examine(recording.run())] == [Verdict.PARTIAL]
    assert [violation.ranks for violation in recovered(recording.raised([1], WRONG).run())] == [(1,)]


@pytest.mark.parametrize(
    ("type_name", "violation"),
    [("Failed", ("recovery", Verdict.UNUSABLE)), ("WrongContent", ("durable", Verdict.SILENT_WRONG))],
)
@pytest.mark.parametrize("native", [False, True])
def test_no_limit_and_no_native_error_excuses_what_the_function_found_out(type_name, violation, native):
    plan = 'fs.write("x")@1=raise(OSError, ENOSPC)' if native else "fs.mkdir@1=limit(100)"
    found = ErrorRecord(type_name=type_name, module="builtins", message="weight is not what was saved")
    recording = Recording(plan, 2).fire(1).raised([1], found)
    recording.fired[0] = msgspec.structs.replace(recording.fired[0], native=native)
    assert violation in {(one.check, one.verdict) for one in examine(recording.run())}


def test_what_comes_after_an_attempt_does_not_explain_that_it_failed():
    for op, plan in (("save", "fs.mkdir@1=limit(100)"), ("load", "fs.rename@0=lie")):
        for is_before in (True, False):
            recording = Recording(plan, 2)
            if is_before:
                recording.fire(1 if op == "save" else 0)
            recording.begin(range(2), op).end(range(2), FULL, op)
            if not is_before:
                recording.fire(1 if op == "save" else 0)
            found = recovered(recording.raised(range(2), FULL).run())
            assert [violation.verdict for violation in found] == [Verdict.UNUSABLE] * (not is_before)


def test_without_a_limit_the_same_error_is_news():
    recording = Recording("fs.mkdir@1=delay(0.1)", 2).fire(1).raised([1], TOO_LARGE)
    assert [violation.ranks for violation in recovered(recording.run())] == [(1,)]


def saved_and_then(op, plan, second="damage"):
    """A save in which rank 0 struck, then an attempt that fails on every rank."""
    recording = Recording(plan).begin(range(4)).enter(range(4), "write").fire(0, step="write")
    recording.leave(range(4), "write").end(range(4)).begin(range(4), op, attempt=2)
    error = checkpoint_error("plan", dict.fromkeys(range(4), FULL))
    return recording.end(range(4), error, op, attempt=2).raised(range(4), error)


def test_a_load_may_notice_what_was_damaged_before():
    assert recovered(saved_and_then("load", "fs.rename@0=lie").run()) == ()


@pytest.mark.parametrize(
    ("op", "plan"),
    [
        ("load", "fs.rename@0=delay(0.1)"),  # nothing is damaged
        ("save", "fs.rename@0=lie"),  # the next save does not read it
        ("load", "fs.listdir@0=missing"),  # nothing is damaged: too little was stored
    ],
)
def test_work_that_damage_does_not_explain_must_succeed(op, plan):
    [violation] = recovered(saved_and_then(op, plan).run())
    assert violation.verdict is Verdict.UNUSABLE and f"{op} 2 failed" in violation.evidence


def test_who_does_not_see_a_file_may_refuse():
    recording = Recording('fs.stat(".metadata")@1=missing', 2).fire(1).begin([0], "load")
    assert recovered(recording.hung([0]).raised([1], FULL).run()) == ()


def test_a_good_second_attempt_holds():
    recording = reported_save(PLAN, step="write", fired_on={2: 0}).outcome(range(4), Returned())
    assert examine(recording.begin(range(4), attempt=2).end(range(4), attempt=2).run()) == ()


def test_an_error_of_the_function_itself_needs_an_explanation():
    [violation] = recovered(successful().raised([1], WRONG).run())
    assert (
        "the function itself failed and nothing was injected: rank 1 raised AssertionError"
        in violation.evidence
    )
    [violation] = recovered(Recording().raised([1], FULL).run())
    assert violation.ranks == (1,)


def test_an_assertion_made_while_handling_the_engines_error_is_news():
    recording = reported_save(PLAN, step="write", fired_on={2: 0})
    caught = checkpoint_error("write", {2: injected(PLAN)})
    recording.raised(range(4), ErrorRecord(type_name="AssertionError", message="{2} != {1}", context=caught))
    [violation] = recovered(recording.run())
    assert violation.ranks == (0, 1, 2, 3)


def test_passing_the_engines_error_on_is_no_news():
    recording = reported_save(PLAN, step="write", fired_on={2: 0})
    caught = checkpoint_error("write", {2: injected(PLAN)})
    recording.raised(range(4), ErrorRecord(type_name="SaveFailed", message="x", context=caught))
    assert examine(recording.run()) == ()


def saved_by_rank_0_alone(told):
    """Rank 0 saves in a group of its own and fails; rank 1, which took no part, raises `told`."""
    recording = Recording(PLAN_OF_RANK_0, size=2)
    recording.begin([0], group=[0]).enter([0], "write").fire(0, step="write").leave([0], "write", [0])
    error = checkpoint_error("write", {0: injected(PLAN_OF_RANK_0)})
    return recording.end([0], error).raised([0], error).raised([1], told).run()


PLAN_OF_RANK_0 = "writer.write_data@0=raise(ValueError)"


def test_ranks_may_tell_one_another_what_failed_outside_of_the_engine():
    cause = injected(PLAN_OF_RANK_0)
    told = ErrorRecord(type_name="RuntimeError", message=f"rank 0 failed: ValueError: {cause.message}")
    assert recovered(saved_by_rank_0_alone(told)) == ()


@pytest.mark.parametrize(
    ("type_name", "message"),
    [
        ("RuntimeError", "rank 0 failed"),
        ("RuntimeError", "rank 0 failed: ValueError"),
        ("AssertionError", f"ValueError: injected by faultkit: {PLAN_OF_RANK_0}"),
        ("WrongContent", f"ValueError: injected by faultkit: {PLAN_OF_RANK_0}"),
    ],
)
def test_what_does_not_tell_it_in_full_and_what_the_function_found_is_news(type_name, message):
    [violation] = recovered(saved_by_rank_0_alone(ErrorRecord(type_name=type_name, message=message)))
    assert violation.ranks == (1,)


def test_the_injected_error_explains_itself():
    plan = "app.load_state_dict=raise(AssertionError)"
    recording = successful(plan, op="load")
    for rank in range(4):
        recording.fire(rank)
    assert examine(recording.raised(range(4), injected(plan)).run()) == ()


def test_after_a_planned_death_ranks_may_fail_in_any_way_but_an_assertion():
    recording = Recording("writer.write_data@2=kill").begin(range(4)).enter(range(4), "write")
    recording.fire(2, step="write").died([2]).end([0, 1, 3], FULL).raised([0, 1, 3], FULL)
    assert recovered(recording.run()) == ()
    assert [violation.ranks for violation in recovered(recording.raised([1], WRONG).run())] == [(1,)]


MISSED = ErrorRecord(type_name="Failed", module="builtins", message="DID NOT RAISE OSError")


@pytest.mark.parametrize("error", [WRONG, MISSED], ids=["assert", "pytest.raises"])
def test_an_assertion_is_news_also_beside_a_save_that_is_not_over_and_after_a_death(error):
    plan = "writer.write_data@2=raise(OSError)"
    recording = Recording(plan).begin(range(4)).enter(range(4), "write").fire(2, step="write")
    assert [violation.ranks for violation in recovered(recording.raised([1], error).run())] == [(1,)]
    recording = Recording("writer.write_data@2=kill").begin(range(4)).enter(range(4), "write")
    recording.fire(2, step="write").died([2]).end([0, 1, 3], FULL).raised([0, 3], FULL).raised([1], error)
    assert [violation.ranks for violation in recovered(recording.run())] == [(1,)]


def test_an_assertion_of_the_engine_itself_belongs_to_the_save_that_it_ended():
    recording = Recording("writer.write_data@2=raise(OSError)").begin(range(4)).enter(range(4), "write")
    frames = (("/site-packages/torch/distributed/checkpoint/utils.py", 7, "all_reduce"),)
    of_the_engine = ErrorRecord(type_name="AssertionError", message="no metadata", frames=frames)
    recording.fire(2, step="write").raised(range(4), of_the_engine)
    assert recovered(recording.run()) == ()


def test_a_failure_that_is_not_that_of_the_handled_error_is_news():
    plan = "fs.create_stream@1#1=raise(OSError)"
    recording = Recording(plan).begin(range(4)).enter(range(4), "write").fire(1, step="write")
    recording.called(1, "fs.create_stream", 2)
    error = checkpoint_error("write", {1: ErrorRecord(type_name="KeyError", message="'x'")})
    [violation] = recovered(recording.end(range(4), error).raised(range(4), error).run())
    assert "although every error that fired in it had been handled" in violation.evidence


def test_an_error_is_told_once_also_where_it_kept_its_rank_from_an_attempt():
    recording = Recording().raised([1], FULL).begin([0, 2, 3]).hung([0, 2, 3])
    assert [violation.ranks for violation in recovered(recording.run())] == [(1,)]


def test_an_outcome_is_known_again_from_an_event_that_was_cut_short():
    plan = "writer.write_data@2=raise(ValueError)"
    recording = Recording(plan).begin(range(4)).enter(range(4), "write").fire(2, step="write")
    whole = checkpoint_error("write", {2: injected(plan)})
    cut = ErrorRecord(
        type_name=whole.type_name,
        message=f"{whole.message[:40]} ... ({len(whole.message)} characters)",
        failures=whole.failures,
        step="write",
    )
    assert examine(recording.end(range(4), cut).raised(range(4), whole).run()) == ()


def after(recording, attempts):
    """The run with further attempts: `attempts` maps a rank to its outcomes, all others returned."""
    count = max(map(len, attempts.values()), default=3)
    return with_attempts(recording.run(), {r: (Returned(),) * count for r in range(4)} | attempts)


def with_attempts(run, attempts):
    class Continued:
        attempts_after = attempts

        def __getattr__(self, name):
            return getattr(run, name)

    return Continued()


def test_attempts_after_the_failed_one_that_all_return_hold():
    recording = reported_save(PLAN, step="write", fired_on={2: 0})
    for number in (1, 2, 3):
        for rank in range(4):
            recording.event(rank, "again", number=number)
        recording.begin(range(4), attempt=number + 1).end(range(4), attempt=number + 1)
    assert examine(after(recording, {})) == ()


def test_the_first_attempt_that_fails_afterwards_is_told():
    recording = reported_save(PLAN, step="write", fired_on={2: 0})
    run = after(recording, {1: (Returned(), Raised(FULL), Raised(FULL))})
    [violation] = recovered(run)
    assert (violation.verdict, violation.ranks) == (Verdict.UNUSABLE, (1,))
    assert violation.evidence == (
        "attempt 2 after the one under the plan, without a fault and on the same ranks, failed: "
        "rank 1 raised OSError: [Errno 28] No space left on device"
    )


def test_an_attempt_that_hangs_or_ends_a_rank_afterwards_is_unusable():
    recording = reported_save(PLAN, step="write", fired_on={2: 0})
    run = after(recording, {0: (Hung("", "in barrier, for rank 3"),), 3: (Died("SIGSEGV"),)})
    [violation] = recovered(run)
    assert violation.evidence.endswith("rank 0 hung, waiting in barrier, for rank 3; rank 3 died of SIGSEGV")
    assert examine(run) == (violation,)


def test_what_the_engine_did_in_the_attempts_afterwards_is_told_once():
    recording = reported_save(PLAN, step="write", fired_on={2: 0})
    for rank in range(4):
        recording.event(rank, "again", number=1)
    error = checkpoint_error("plan", {2: FULL})
    recording.begin(range(4), attempt=2).end([0, 1, 2], error, attempt=2).end([3], attempt=2)
    run = after(recording, {rank: (Raised(error),) for rank in (0, 1, 2)})
    assert [violation.check for violation in examine(run)] == ["recovery"]
