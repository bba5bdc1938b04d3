import pytest

from faultkit.checks import Verdict, examine
from faultkit.runs.outcomes import Died, ErrorRecord
from tests.helpers.finished_runs import Recording, checkpoint_error, injected, successful

STACK = """Thread 0x00007f0a (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 320 in wait
Thread 0x00007f0b (most recent call first):
  File "/venv/torch/distributed/distributed_c10d.py", line 3254 in gather_object
  File "/venv/torch/distributed/checkpoint/utils.py", line 131 in gather_object
  File "/venv/torch/distributed/checkpoint/utils.py", line 199 in reduce_scatter
  File "/home/me/train.py", line 12 in save
"""


def living(run):
    return examine(run, "liveness")


def test_a_rank_that_no_fault_stopped_must_come_back():
    recording = Recording("app.state_dict@2=raise(ValueError)").fire(2)
    recording.raised([2], injected(recording.plan)).hung(
        [0, 1, 3], STACK, "for rank 2 in gather of step 'plan'"
    )
    [violation] = living(recording.run(timeout_seconds=5.0))
    assert violation.verdict is Verdict.HUNG
    assert violation.ranks == (0, 1, 3)
    assert "ranks 0, 1, 3 can never come back (certain 1.5 s into the run)" in violation.evidence
    assert "for rank 2 in gather of step 'plan'" in violation.evidence
    assert "gather_object (distributed/distributed_c10d.py:3254)" in violation.evidence
    assert "what fired first was rank 2's raise(ValueError) at app.state_dict" in violation.evidence


@pytest.mark.parametrize("action", ["hang", "hang(native)", "stop", "kill(SIGSTOP)"])
def test_a_rank_that_its_own_fault_stopped_is_expected_to_hang(action):
    recording = Recording(f"writer.write_data@2={action}").fire(2, step="write").hung([2])
    assert living(recording.run()) == ()


def test_that_the_others_wait_for_it_is_a_violation():
    recording = Recording("writer.write_data@2=hang").fire(2, step="write").hung([0, 1, 2, 3])
    assert [violation.ranks for violation in living(recording.run())] == [(0, 1, 3)]


def test_a_planned_stop_that_did_not_fire_excuses_nobody():
    recording = Recording("writer.write_data@2=hang").hung([2])
    assert [violation.ranks for violation in living(recording.run())] == [(2,)]


def test_a_delay_beyond_the_deadline_is_no_hang_of_that_rank():
    recording = Recording("writer.write_data@2=delay(60)").fire(2).hung([2])
    assert living(recording.run(timeout_seconds=5.0)) == ()
    recording = Recording("writer.write_data@2=delay(0.1)").fire(2).hung([2])
    assert [violation.ranks for violation in living(recording.run(timeout_seconds=5.0))] == [(2,)]


@pytest.mark.parametrize(
    "action", ["kill", "kill(SIGTERM)", "exit(7)", "segfault", "raise(ValueError, leave)"]
)
def test_a_rank_that_its_own_fault_ends_is_expected_to_die(action):
    recording = Recording(f"writer.write_data@2={action}").fire(2, step="write").died([2])
    assert living(recording.run()) == ()


@pytest.mark.parametrize("action", ["raise(ValueError)", "delay(0.1)", "hang"])
def test_other_faults_explain_no_death(action):
    recording = Recording(f"writer.write_data@2={action}").fire(2, step="write").died([2])
    [violation] = living(recording.run())
    assert violation.verdict is Verdict.DIED
    assert "rank 2 died of SIGKILL, and no fault had ended it" in violation.evidence


def test_the_death_of_a_bystander_is_told_with_its_stack():
    recording = Recording("writer.write_data@2=kill").fire(2).died([2])
    recording.outcome([0], Died(signal="SIGSEGV", stack=STACK)).died([1], None, 70)
    told = {violation.ranks: violation.evidence for violation in living(recording.run())}
    assert "rank 0 died of SIGSEGV at gather_object (distributed/distributed_c10d.py:3254)" in told[(0,)]
    assert "rank 1 exited with code 70" in told[(1,)]


def test_whom_the_launcher_ended_has_not_died_by_itself_and_who_died_first_has():
    recording = Recording().outcome([0], Died(signal="SIGTERM", by="launcher")).died([1])
    assert [violation.ranks for violation in living(recording.run())] == [(1,)]


GLOO = ErrorRecord(
    type_name="RuntimeError", message="[unbound_buffer.cc:81] Timed out waiting 1800000ms for recv operation"
)


def test_coming_back_at_the_timeout_of_the_process_group_is_late():
    recording = (
        Recording("app.state_dict@2=raise(ValueError)")
        .fire(2)
        .raised([2], injected("app.state_dict@2=raise(ValueError)"))
    )
    [violation] = living(recording.raised([0, 1, 3], GLOO).run())
    assert violation.verdict is Verdict.LATE
    assert violation.ranks == (0, 1, 3)


def test_a_timeout_inside_of_the_engines_error_is_late_too():
    recording = successful().raised([0], checkpoint_error("write", {1: GLOO}))
    assert [violation.verdict for violation in living(recording.run())] == [Verdict.LATE]


def test_an_injected_timeout_is_not_late():
    plan = 'writer.write_data@2=raise(TimeoutError, "timed out waiting 5ms")'
    recording = Recording(plan).fire(2, step="write")
    recording.raised(range(4), checkpoint_error("write", {2: injected(plan)}))
    assert living(recording.run()) == ()
