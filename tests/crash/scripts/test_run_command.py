"""A command runs in a fork as it does as a program: what it sees, what it prints, how it ends."""

import sys
import time

import psutil
import pytest

from faultkit.crash.scripts import run_command


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "script.py"
        path.write_text(text)
        return str(path)

    return write


BODIES = {
    "nothing": ("print('hello')", 0),
    "exit": ("import sys; sys.exit(3)", 3),
    "message": ("import sys; sys.exit('no checkpoint')", 1),
    "error": ("raise ValueError('broken')", 1),
    "signal": ("import os; os.kill(os.getpid(), 9)", -9),
    "main": ("assert __name__ == '__main__' and __file__.endswith('script.py')", 0),
    "arguments": ("import sys; assert sys.argv[1:] == ['a', '--b'], sys.argv", 0),
    "path": ("import sys, os; assert sys.path[0] == os.path.dirname(os.path.abspath(__file__))", 0),
    "atexit": ("import atexit; atexit.register(print, 'at the end')", 0),
    "thread": ("import threading as t; t.Thread(target=lambda: print('in a thread')).start()", 0),
    "stderr": ("import sys; print('to stderr', file=sys.stderr)", 0),
    "no rank": ("import os; assert 'RANK' not in os.environ", 0),
}


@pytest.mark.parametrize("name", sorted(BODIES))
def test_a_fork_ends_and_prints_as_a_program_does(script, name):
    text, status = BODIES[name]
    argv = ["python", script(text), "a", "--b"]
    in_a_fork, as_a_program = (run_command.run_ranks(argv, 1, in_process=here) for here in (True, False))
    assert in_a_fork[0] == as_a_program[0] == status
    last = [told.strip().splitlines()[-1:] for _, told in (in_a_fork, as_a_program)]
    assert last[0] == last[1]


def test_a_module_and_code_are_commands_too(tmp_path, monkeypatch):
    (tmp_path / "of_mine.py").write_text("import sys; print(__name__, sys.argv[1:])")
    monkeypatch.chdir(tmp_path)
    assert run_command.run_ranks(["python", "-m", "of_mine", "x"], 1) == (0, "__main__ ['x']\n")
    assert run_command.run_ranks(["python", "-c", "import sys; print(sys.argv)", "y"], 1) == (
        0,
        "['-c', 'y']\n",
    )


def test_other_programs_run_as_they_are():
    assert run_command.python_work(["sh", "-c", "exit 4"]) is None
    assert run_command.run_ranks(["sh", "-c", "echo out; exit 4"], 1) == (4, "out\n")
    status, told = run_command.run_ranks(["no-such-program"], 1)
    assert status == 127 and "no-such-program" in told


@pytest.mark.parametrize(
    ("argv", "work"),
    [
        (["python", "t.py", "-m"], ("path", "t.py", ["-m"])),
        (["python", "-u", "-W", "error", "-m", "a.b", "c"], ("module", "a.b", ["c"])),
        ([sys.executable, "-Xdev", "t.py"], ("path", "t.py", [])),
        (["python", "-I", "t.py"], None),
        (["python"], None),
        (["torchrun", "t.py"], None),
    ],
)
def test_commands_of_this_interpreter_are_known(argv, work):
    assert run_command.python_work(argv) == work


def test_ranks_are_told_who_they_are(script):
    text = (
        "import os; e = os.environ; r = e['RANK']\n"
        "assert e['WORLD_SIZE'] == e['LOCAL_WORLD_SIZE'] == '2' and e['LOCAL_RANK'] == r\n"
        "assert e['MASTER_ADDR'] and int(e['MASTER_PORT']); print('rank', r)"
    )
    assert run_command.run_ranks(["python", script(text)], 2) == (0, "rank 0\n")


def test_ranks_that_wait_for_a_failed_one_are_ended(script, monkeypatch):
    monkeypatch.setattr(run_command, "GRACE_SECONDS", 0.05)
    text = "import os, sys, signal\nr = os.environ['RANK']\nprint('rank', r, flush=True)\n"
    text += "if r == '1': sys.exit(5)\nsignal.pause()"
    began, before = time.monotonic(), set(psutil.Process().children())
    # the one that failed by itself tells why
    assert run_command.run_ranks(["python", script(text)], 2) == (5, "[rank 1] rank 1\n")
    assert time.monotonic() - began < 20
    assert set(psutil.Process().children()) <= before  # nobody is left
