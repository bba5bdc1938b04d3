import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultkit import checks
from faultkit.checks import CATALOGUE, Verdict, examine, verdict_of
from faultkit.plan import FaultPlan
from faultkit.report.story import render_story
from faultkit.runs.outcomes import Died, ErrorRecord, Event, Fired, Hung, Raised, Returned
from tests.helpers.finished_runs import FinishedRun, checkpoint_error, reported_save, successful
from tests.helpers.stuck import SECONDS_MAX

PLAN = "writer.write_data@2=raise(ValueError)"


def test_a_save_without_faults_holds():
    assert examine(successful().run()) == ()


def test_a_failure_that_every_rank_was_told_of_holds():
    assert examine(reported_save(PLAN, step="write", fired_on={2: 0}).run()) == ()


def test_it_holds_as_well_where_the_function_caught_the_error():
    recording = reported_save(PLAN, step="write", fired_on={2: 0})
    assert examine(recording.outcome(range(4), Returned("caught")).run()) == ()


def test_single_checks_can_be_chosen():
    run = successful(PLAN).run()
    assert {v.check for v in examine(run)} == {"fired"}
    assert examine(run, ("liveness", "agreement")) == ()
    assert {v.check for v in examine(run, "fired")} == {"fired"}
    assert {v.check for v in examine(run, [CATALOGUE["fired"]])} == {"fired"}


def test_may_not_fire_leaves_out_the_check_fired():
    assert examine(successful(PLAN).run(), may_not_fire=True) == ()


def test_an_unknown_check_is_refused_with_the_nearest_name():
    with pytest.raises(
        ValueError, match=r"check must be one of fired, .*got 'livenes'.*did you mean 'liveness'\?"
    ):
        examine(successful().run(), ["livenes"])


def test_violations_come_worst_first():
    two = f"{PLAN}; writer.write_data@1=raise(KeyError)"
    recording = reported_save(
        two, step="write", fired_on={2: 0}, told={2: ErrorRecord(type_name="TypeError")}
    )
    recording.outcome([3], Died(signal="SIGSEGV"))
    verdicts = [violation.verdict for violation in examine(recording.run())]
    assert verdicts == [Verdict.DIED, Verdict.MASKED, Verdict.INERT]
    assert verdict_of(examine(recording.run())) is Verdict.DIED


def test_importing_the_checks_imports_no_torch():
    code = "import faultkit.checks, faultkit.report.story, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=SECONDS_MAX).returncode == 0


# Odd runs: anything a damaged rank may leave behind, or leave out.

ERRORS = st.sampled_from(
    [
        ErrorRecord(type_name="ValueError", message="injected by faultkit"),
        ErrorRecord(type_name="AssertionError"),
        checkpoint_error("write", {2: ErrorRecord(type_name="ValueError")}),
        checkpoint_error("read", {17: ErrorRecord(type_name="OSError", errno=28)}),
    ]
)
OUTCOMES = st.one_of(
    st.just(Returned()),
    st.builds(Raised, ERRORS),
    st.builds(Died, signal=st.sampled_from([None, "SIGKILL"]), exitcode=st.sampled_from([None, 7])),
    st.builds(Hung, stack=st.sampled_from(["", "nonsense", 'File "a.py", line 3 in f']), waiting=st.just("")),
)
PLANS = st.sampled_from(
    [
        "",
        PLAN,
        "reader.read_data=raise(OSError, ENOSPC); comm.gather_object@1=hang",
        "writer.finish:after@coordinator=kill; planner.finish_plan@others#2=delay(9)",
        "app.state_dict@0=exit(3); storage.reset@3=stop(0.5); fs.create_stream=memory",
    ]
)
STEP_NAMES = st.sampled_from([None, "plan", "write", "read", ""])
EVENT_DATA = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["save", "load", None, 3]),
        "attempt": st.sampled_from([1, 2, None, "1"]),
        "step": STEP_NAMES,
        "ok": st.sampled_from([True, False, None]),
        "fault": st.sampled_from([0, 1, 99, None, "0"]),
        "call": st.sampled_from([1, 2, None]),
        "point": st.sampled_from(["writer.write_data", "reader.read_data", None]),
        "ranks": st.sampled_from([[0, 1], None, "01", [], [None]]),
        "error": st.sampled_from([None, {}, {"type_name": "E"}, {"type_name": 3, "failures": "?"}, "text"]),
    },
)
KINDS = st.sampled_from(
    ["fired", "called", "attempt_begin", "attempt_end", "step_begin", "step_end", "new kind"]
)


@st.composite
def odd_runs(draw):
    plan = FaultPlan.parse(draw(PLANS))
    ranks = st.integers(0, 3)
    times = st.floats(0, 10)
    events = draw(st.lists(st.builds(Event, ranks, times, KINDS, EVENT_DATA), max_size=25))
    fired = ()
    if plan:
        one = st.builds(Fired, st.sampled_from(list(plan)), ranks, st.integers(1, 3), times, STEP_NAMES)
        fired = tuple(draw(st.lists(one, max_size=5)))
    outcomes = draw(st.dictionaries(ranks, OUTCOMES))
    events.sort(key=lambda event: event.seconds)
    return FinishedRun(plan, 4, outcomes, fired, tuple(events))


@given(odd_runs())
def test_no_odd_run_breaks_the_checks_or_the_story(run):
    violations = examine(run)
    assert all(violation.evidence and set(violation.ranks) <= set(range(18)) for violation in violations)
    assert all(violation.verdict in CATALOGUE[violation.check].verdicts for violation in violations)
    assert f"{verdict_of(violations)}: " in render_story(run)


@given(odd_runs())
def test_a_fault_that_neither_fired_nor_was_prevented_is_never_held(run):
    if run.plan and not run.fired and not any(event.kind == "fired" for event in run.events):
        assert any(violation.verdict is Verdict.INERT for violation in examine(run))


def test_a_run_of_which_nothing_is_known_holds_nothing_against_anybody():
    assert examine(FinishedRun(FaultPlan(), 0, {})) == ()
    assert checks.analyse(FinishedRun(FaultPlan(), 0, {})).world_size == 0
