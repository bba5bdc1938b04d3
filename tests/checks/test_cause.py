import errno
import os

import pytest

from faultkit.checks import Verdict, analyse, examine
from faultkit.checks.cause import lost_chains
from faultkit.checks.effects import Injected
from faultkit.plan import FaultPlan
from faultkit.report.story import render_story
from faultkit.runs.outcomes import ErrorRecord
from tests.helpers.finished_runs import Recording, checkpoint_error, injected, reported_save

PLAN = "writer.write_data@2=raise(ValueError)"
FULL = "fs.create_stream@2=raise(OSError, ENOSPC)"
NO_SPACE = ErrorRecord(
    type_name="OSError", message=f"[Errno {errno.ENOSPC}] injected by faultkit: {FULL}", errno=errno.ENOSPC
)


def caused(plan, told):
    return examine(reported_save(plan, step="write", fired_on={2: 0}, told={2: told}).run(), "cause")


def test_the_injected_error_itself_is_well():
    assert caused(PLAN, injected(PLAN)) == ()
    assert caused(FULL, NO_SPACE) == ()


def test_the_text_of_the_system_will_do_for_an_errno():
    text = f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}"
    assert caused(FULL, ErrorRecord(type_name="OSError", message=text, errno=errno.ENOSPC)) == ()


def test_a_given_message_must_arrive():
    plan = 'writer.write_data@2=raise(ValueError, "disk gone")'
    assert caused(plan, ErrorRecord(type_name="ValueError", message="disk gone")) == ()
    [violation] = caused(plan, ErrorRecord(type_name="ValueError", message="something else"))
    assert violation.verdict is Verdict.MASKED
    assert "the message of rank 2's" in violation.evidence
    assert "'disk gone'" in violation.evidence


def test_an_error_of_another_type_masks_the_cause():
    [violation] = caused(PLAN, ErrorRecord(type_name="RuntimeError", message="save failed"))
    assert violation.ranks == (0, 1, 2, 3)
    assert "the type and message of rank 2's raise(ValueError) at writer.write_data" in violation.evidence
    assert "RuntimeError: save failed" in violation.evidence


def test_a_wrapper_that_keeps_the_chain_is_well():
    wrapper = ErrorRecord(type_name="SaveError", message="failed", cause=injected(PLAN))
    assert caused(PLAN, wrapper) == ()
    assert caused(PLAN, ErrorRecord(type_name="SaveError", message="failed", context=injected(PLAN))) == ()


def test_a_wrapper_that_says_type_and_message_is_well():
    error = injected(PLAN)
    assert (
        caused(PLAN, ErrorRecord(type_name="SaveError", message=f"failed: ValueError: {error.message}")) == ()
    )


def test_a_wrapper_that_repeats_only_the_message_loses_the_type():
    # the stock engine does this with an error of read_metadata
    error = ErrorRecord(
        type_name="AssertionError",
        message=f"metadata is None; global metadata read failed: {injected(PLAN).message}",
    )
    [violation] = caused(PLAN, error)
    assert violation.verdict is Verdict.MASKED
    assert violation.evidence.startswith("the type of rank 2's")


def test_an_errno_must_arrive():
    text = f"injected by faultkit: {FULL}"
    [violation] = caused(FULL, ErrorRecord(type_name="OSError", message=text))
    assert violation.evidence.startswith("the errno of rank 2's")


def test_an_os_error_may_arrive_as_its_own_subclass():
    plan = "fs.create_stream@2=raise(OSError, ENOENT)"
    error = ErrorRecord(
        type_name="FileNotFoundError", message=f"injected by faultkit: {plan}", errno=errno.ENOENT
    )
    assert caused(plan, error) == ()


def test_each_rank_is_asked():
    plain = ErrorRecord(type_name="RuntimeError", message="?")
    told_to = {3: checkpoint_error("write", {2: plain})}
    recording = reported_save(PLAN, step="write", fired_on={2: 0}, told_to=told_to)
    assert [violation.ranks for violation in examine(recording.run(), "cause")] == [(3,)]


def test_each_culprit_is_asked_about():
    plan = "writer.write_data@1=raise(ValueError); writer.write_data@2=raise(KeyError)"
    told = {1: injected(plan, 0), 2: ErrorRecord(type_name="RuntimeError")}
    [violation] = examine(reported_save(plan, step="write", fired_on={1: 0, 2: 1}, told=told).run(), "cause")
    assert "raise(KeyError)" in violation.evidence


def test_a_rank_must_show_the_cause_of_an_error_that_only_it_can_know():
    plan = "comm.gather_object@2=raise(ValueError)"
    recording = Recording(plan).begin(range(4)).enter(range(4), "plan").fire(2, step="plan")
    lost = ErrorRecord(type_name="RuntimeError", message="Connection closed by peer")
    recording.end([0, 1, 3], lost).raised([0, 1, 3], lost).end([2], injected(plan)).raised(
        [2], injected(plan)
    )
    assert examine(recording.run(), "cause") == ()
    other = ErrorRecord(type_name="RuntimeError", message="unknown")
    recording = Recording(plan).begin(range(4)).enter(range(4), "plan").fire(2, step="plan")
    recording.end(range(4), other).raised(range(4), other)
    assert [violation.ranks for violation in examine(recording.run(), "cause")] == [(2,)]


def test_in_an_engine_of_ones_own_every_rank_must_tell_the_cause():
    recording = Recording(PLAN).fire(2).raised([2], injected(PLAN))
    recording.raised([0, 1, 3], ErrorRecord(type_name="RuntimeError", message="somebody failed"))
    assert [violation.ranks for violation in examine(recording.run(), "cause")] == [(0, 1, 3)]


@pytest.mark.parametrize(
    ("action", "type_name", "message", "number"),
    [
        ("raise(IOError)", "OSError", "injected by faultkit", None),
        ("raise(OSError, EEXIST)", "FileExistsError", "injected by faultkit", errno.EEXIST),
        ('raise(KeyError, "it\'s \\"gone\\"")', "KeyError", 'it\'s "gone"', None),
        ("memory", "MemoryError", "", None),
        ("kill(SIGINT)", "KeyboardInterrupt", "", None),
    ],
)
def test_what_should_arrive_follows_from_the_action(action, type_name, message, number):
    [fault] = FaultPlan.parse(f"fs.create_stream={action}")
    one = Injected.by(fault)
    assert type_name in one.type_names
    assert message in one.messages[0]
    assert one.errno == number


def test_a_message_is_recognised_in_its_printed_form():
    plan = 'writer.write_data@2=raise(KeyError, "it\'s \\"gone\\"")'
    assert caused(plan, ErrorRecord(type_name="KeyError", message=str(KeyError('it\'s "gone"')))) == ()


def test_a_foreign_type_is_known_by_its_name():
    [fault] = FaultPlan.parse("fs.mkdir=raise(my.errors:Gone)", allow=["my.errors:Gone"])
    assert Injected.by(fault).type_names == ("Gone",)


def test_a_foreign_type_need_not_take_a_message():
    [fault] = FaultPlan.parse("fs.mkdir=raise(my.errors:Gone)", allow=["my.errors:Gone"])
    assert Injected.by(fault).lost_in(ErrorRecord(type_name="Gone")) == ()
    assert Injected.by(fault).lost_in(ErrorRecord(type_name="Lost")) == ("type",)


def test_of_a_very_long_message_the_beginning_is_enough():
    plan = f'writer.write_data@2=raise(ValueError, "{"x" * 9000}")'
    assert (
        caused(plan, ErrorRecord(type_name="ValueError", message="x" * 2000 + " ... (9000 characters)")) == ()
    )


def test_a_chain_of_which_only_the_words_arrive_is_told_and_no_violation():
    words = ErrorRecord(type_name="SaveError", message=f"failed: ValueError: {injected(PLAN).message}")
    run = reported_save(PLAN, step="write", fired_on={2: 0}, told={2: words}).run()
    assert examine(run, "cause") == ()
    [sentence] = lost_chains(analyse(run))
    assert sentence.startswith(
        "ranks 0-3: of rank 2's raise(ValueError) at writer.write_data in step 'write' only"
    )
    story = " ".join(render_story(run).split())
    assert "What was lost on the way" in story and "the chain to the error itself was lost" in story


def test_a_chain_that_arrives_is_not_told_and_one_without_words_is_masked():
    kept = ErrorRecord(type_name="SaveError", message="failed", cause=injected(PLAN))
    run = reported_save(PLAN, step="write", fired_on={2: 0}, told={2: kept}).run()
    assert lost_chains(analyse(run)) == () and "What was lost on the way" not in render_story(run)
    lost = ErrorRecord(type_name="SaveError", message="failed")
    run = reported_save(PLAN, step="write", fired_on={2: 0}, told={2: lost}).run()
    assert [violation.verdict for violation in examine(run, "cause")] == [Verdict.MASKED]
    assert lost_chains(analyse(run)) == ()


def test_what_an_injected_error_was_raised_from_is_told_where_it_is_lost():
    plan = 'writer.write_data@2=raise(faultkit.hostile:Chained, "token-1")'
    cause = ErrorRecord(type_name="OSError", message="[Errno 5] the cause of token-1", errno=5)
    for chain, count in ((cause, 0), (None, 1)):
        told = ErrorRecord(type_name="Chained", module="faultkit.hostile", message="token-1", cause=chain)
        run = reported_save(plan, step="write", fired_on={2: 0}, told={2: told}).run()
        assert examine(run, "cause") == () and len(lost_chains(analyse(run))) == count
