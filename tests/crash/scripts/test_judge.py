"""States of scripts that do not need torch are judged without it, and as `faultkit.crash.Judge` would."""

import os
import select
import signal
import subprocess
import sys

import psutil
import pytest

from faultkit.crash import State, Witness
from faultkit.crash.scripts import Job, exploring
from faultkit.crash.scripts.judge import ScriptJudge
from faultkit.crash.scripts.resume import Resumption
from faultkit.exceptions import ScenarioError
from faultkit.worlds import HarnessError
from tests.helpers.places import ROOT

pytestmark = pytest.mark.slow

CODE = """
import os, sys, signal, time
path = os.path.join(sys.argv[1], "number")
text = open(path).read() if os.path.exists(path) else "0"
if text == "wait": signal.pause()
open(path, "w").write(str(max(7, int(text))))
"""


def scenario(code=CODE):
    command = ("python", "-c", code, "{out}")
    job = Job(command, results=("{out}/number",))
    return exploring.scenario_of(job, Resumption(command, results=job.results))


def state(text, key=None):
    tree = {"out": None} if text is None else {"out": None, "out/number": text.encode()}
    return State(key=key or str(text), witness=Witness(model="killed", done=()), tree=tree)


def test_each_state_is_resumed_and_told_apart():
    with ScriptJudge(scenario(), workers=2, timeout_seconds=20) as judge:
        judge.expect(state("7").tree)
        states = [state(None), state("3"), state("9"), state("")]
        told = {id(one): judgement for one, judgement in judge.judge_many(states)}
        verdicts = [told[id(one)].verdict for one in states]
        assert verdicts == ["NEW", "NEW", "GARBAGE", "ERROR"]
        again = judge.judge(state("3", key="9"))  # known by its key alone
        assert judge.loaded == 4 and again.verdict == "GARBAGE" and not again.loaded
        assert told[id(states[3])].type_name == "ResumeFailed"
        assert "ValueError" in told[id(states[3])].message
        assert told[id(states[2])].detail == "another number than without a crash"


def test_what_faultkit_cannot_resume_is_no_verdict():
    command = ("python", "-c", CODE, "{out}")
    job = Job(command, results=("{out}/number",))
    cannot = Resumption(command, results=job.results, temporary="out/number")  # which is a file
    with (
        ScriptJudge(exploring.scenario_of(job, cannot), workers=1, timeout_seconds=20) as judge,
        pytest.raises(
            HarnessError, match=r"^faultkit failed where a state was resumed from: FileExistsError"
        ),
    ):
        judge.judge(state("3"))


def test_what_does_not_end_is_hung_and_gone():
    before = set(psutil.Process().children(recursive=True))
    with ScriptJudge(scenario(), workers=1, timeout_seconds=0.5) as judge:
        assert judge.judge(state("wait")).verdict == "HUNG"
    assert set(psutil.Process().children(recursive=True)) <= before


def test_what_was_only_slow_is_tried_once_more_on_the_state_as_it_was(tmp_path):
    slow = """
import os, sys, signal
path, told = os.path.join(sys.argv[1], "number"), sys.argv[2]
text = open(path).read()
open(path, "w").write(text + "1")
if text == "7" and not os.path.exists(told):
    open(told, "w").close()
    signal.pause()
"""
    command = ("python", "-c", slow, "{out}", str(tmp_path / "tried"))
    resumption = Resumption(command, results=("{out}/number",))
    saved = exploring.scenario_of(Job(command, results=resumption.results), resumption)
    with ScriptJudge(saved, workers=1, timeout_seconds=0.5) as judge:
        judge.expect(state("7", key="7").tree)
        (tmp_path / "tried").unlink()
        assert judge.judge(state("7", key="again")).verdict == "NEW"
    assert (tmp_path / "tried").exists()


def test_a_judge_that_is_left_early_leaves_nothing():
    before = set(psutil.Process().children(recursive=True))
    with ScriptJudge(scenario(), workers=2, timeout_seconds=20) as judge:
        judge.expect(state("7").tree)
        answers = judge.judge_many([state(str(number)) for number in range(6)])
        next(answers)
        answers.close()
        assert judge.judge(state("5")).verdict == "NEW"
    assert set(psutil.Process().children(recursive=True)) <= before


STARTING = (
    """
import subprocess, sys
sleeping = subprocess.Popen(["sleep", "300"], start_new_session=True)
open(sys.argv[2], "a").write(f"{sleeping.pid}\\n")
"""
    + CODE
)
CALLER = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.crash.scripts.test_judge import ScriptJudge, starting, state
with ScriptJudge(starting(sys.argv[2]), workers=1, timeout_seconds=60) as judge:
    judge.judge(state("wait"))
"""


def starting(told):
    """A script that leaves a process in a session of its own, whose number it writes to `told`."""
    command = ("python", "-c", STARTING, "{out}", told)
    job = Job(command, results=("{out}/number",))
    return exploring.scenario_of(job, Resumption(command, results=job.results))


def test_what_a_resumption_starts_in_a_session_of_its_own_ends_with_it(tmp_path):
    told = tmp_path / "told"
    with ScriptJudge(starting(str(told)), workers=1, timeout_seconds=0.5) as judge:
        judge.expect(state("7").tree)
        for text, verdict in (("3", "NEW"), ("no number", "ERROR"), ("wait", "HUNG")):
            assert judge.judge(state(text)).verdict == verdict
            started = [int(line) for line in told.read_text().split()]
            assert started and not any(map(psutil.pid_exists, started))


def test_what_a_resumption_starts_ends_with_a_caller_that_is_killed(tmp_path):
    told = tmp_path / "told"
    os.mkfifo(told)
    caller = subprocess.Popen([sys.executable, "-c", CALLER, str(ROOT), str(told)])
    try:
        sleeping = os.pidfd_open(int(told.read_text()))
    finally:
        caller.kill()
        caller.wait()
    assert select.select([sleeping], [], [], 10)[0], "it did not end"
    os.close(sleeping)


def test_a_worker_that_is_killed_takes_what_it_resumes_with_it():
    with ScriptJudge(scenario(), workers=1, timeout_seconds=60) as judge:
        worker = psutil.Process(judge._pool._processes[0].pid)
        answers = judge.judge_many([state("wait")])
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(Exception, match=r"is gone|Broken pipe"):
            next(answers)


def test_a_save_that_cannot_be_resumed_or_comes_to_chance_is_refused():
    with ScriptJudge(scenario(), workers=1) as judge:  # noqa: SIM117
        with pytest.raises(ScenarioError, match=r"must load without any crash .*ResumeFailed"):
            judge.expect(state("").tree)
    chance = "import os, sys; open(sys.argv[1] + '/number', 'wb').write(os.urandom(8))"
    with ScriptJudge(scenario(chance), workers=1) as judge:  # noqa: SIM117
        with pytest.raises(ScenarioError, match=r"must come to the same .*number"):
            judge.expect(state("7").tree)


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("import os, json\nfrom re import match", False),
        ("import torch.distributed as d", True),
        ("  from x import y", True),
    ],
)
def test_torch_is_started_for_scripts_that_may_need_it(tmp_path, text, needs):
    script = tmp_path / "t.py"
    script.write_text(text)
    assert exploring._mentions_torch(("python", str(script), "{out}")) is needs
    assert exploring._mentions_torch(("sh", str(script))) is False
