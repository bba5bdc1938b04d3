"""The command line, as a user meets it: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.interruptible import ignoring_interrupts, interruptible
from tests.helpers.stuck import SECONDS_MAX

HANG = "writer.reset@1=raise(ValueError)"
HOLD = "writer.write_data@1=raise(ValueError)"


@contextlib.contextmanager
def unchanged(path):
    """Who has the file at `path` open meanwhile reads what stood there before, to its end."""
    path.write_text("of yesterday")
    with path.open() as stream:
        yield
        assert stream.read() == "of yesterday"
    assert path.read_text(encoding="utf-8") != "of yesterday"


@pytest.fixture
def started(tmp_path):
    """Starts the command in a process of its own, with its temporary directories below ours."""
    processes = []

    def start(*arguments, preexec_fn=interruptible, **options):
        command = [sys.executable, "-m", "faultkit", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # another session on this machine may hold every slot, and the wait is told
        options.setdefault("env", {**os.environ, "FAULTKIT_SLOTS": "0"})
        process = subprocess.Popen(command, cwd=tmp_path, preexec_fn=preexec_fn, **pipes, **options)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=SECONDS_MAX)


def test_a_sweep_writes_its_results_and_exits_with_one_for_a_broken_promise(faultkit, tmp_path):
    json_path, page = tmp_path / "sweep.json", tmp_path / "sweep.html"
    with unchanged(json_path), unchanged(page):
        status, out, err = faultkit(
            *("sweep", "dcp-save", "--world", 2, "--points", "writer.reset", "--points", "writer.finish"),
            *("--json", json_path, "--report", page),
        )
    assert (status, err) == (1, "")
    assert "dcp-save on 2 ranks, warm" in out
    assert "\x1b" not in out
    assert not any(line != line.rstrip() for line in out.splitlines())
    found = json.loads(json_path.read_text())
    assert found["totals"] == {"HUNG": 2, "HELD": 1}
    assert "writer.finish" in page.read_text(encoding="utf-8")


def test_a_sweep_in_which_all_held_exits_with_zero(faultkit):
    status, out, _ = faultkit("sweep", "dcp-load", "--world", 2, "--points", "reader.read_data:before")
    assert status == 0
    assert "HELD  2  every promise was kept" in out


def test_json_on_standard_output_stands_alone_there(faultkit):
    status, out, err = faultkit(
        "sweep", "dcp-save", "--world", 2, "--plan", HOLD, "--plan", HANG, "--json", "-"
    )
    assert status == 1
    assert [plan["plan"] for plan in json.loads(out)["plans"]] == [HOLD, HANG]
    assert HANG in err


def test_replay_tells_what_every_rank_saw_also_when_all_held(faultkit):
    status, out, _ = faultkit("replay", HOLD, "--world", 2)
    assert status == 0
    assert out.startswith("HELD: every promise was kept")
    assert "ranks 0, 1: save 1 raised CheckpointException" in out
    assert out.endswith(f"replay: faultkit replay '{HOLD}' --scenario dcp-save --world 2\n")


def test_replay_chooses_the_scenario_by_the_points_of_the_plan(faultkit):
    status, out, _ = faultkit("replay", "reader.read_data@0=raise(ValueError)", "--world", 2)
    assert status == 0
    assert "--scenario dcp-load" in out


def test_replay_runs_a_sweep_again_as_it_ran(faultkit, tmp_path):
    path = tmp_path / "sweep.json"
    sweep = {"scenario": "dcp-save,coordinator=1", "world": 2, "kind": "warm"}
    path.write_text(
        json.dumps({**sweep, "plans": [{"plan": "writer.finish@1=raise(ValueError)"}, {"plan": HOLD}]})
    )
    status, out, _ = faultkit("replay", path)
    assert status == 0, out
    assert f"HELD: {HOLD}" in out
    assert "dcp-save,coordinator=1 on 2 ranks" in out


def test_a_fault_that_does_not_fire_is_a_broken_promise(faultkit):
    status, out, _ = faultkit("replay", "writer.finish@1=raise(ValueError)", "--world", 2)
    assert status == 1
    assert out.startswith("INERT")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "kind", "name", "expected"),
    [
        ("sweep", "warm", "wrong", 1),
        ("sweep", "warm", "right", 0),
        ("sweep", "simulated", "wrong", 1),
        ("sweep", "auto", "wrong", 1),
        ("replay", "fresh", "wrong", 1),
        ("replay", "spawn", "wrong", 1),
        ("replay", "simulated", "right", 0),
    ],
)
def test_the_plan_that_breaks_nothing_finds_what_is_broken_by_itself(faultkit, command, kind, name, expected):
    scenario = f"tests.helpers.scenarios_without_a_fault:{name}"
    arguments = (scenario, "--plan", "") if command == "sweep" else ("", "--scenario", scenario)
    status, out, err = faultkit(command, *arguments, "--world", 1, "--kind", kind)
    assert (status, err) == (expected, "")
    assert ("SILENT_WRONG" in out) == (expected == 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["swep"], "did you mean 'sweep'?"),
        (["sweep"], "SCENARIO"),
        (["sweep", "dcp-sav"], "did you mean 'dcp-save'?"),
        (["sweep", "dcp-save", "--world", "0"], "size must be"),
        (["sweep", "dcp-save", "--world", "many"], "--world"),
        (["sweep", "dcp-save", "--kind", "wam"], "'warm'"),
        (["sweep", "dcp-save", "--timeout", "-1"], "timeout must be"),
        (["sweep", "dcp-save", "--launcher", "torchrn"], "nearest is 'torchrun'"),
        (["sweep", "dcp-save", "--jobs", "0"], "--jobs"),
        (["sweep", "dcp-save", "--points", "writr.*"], "did you mean 'writer."),
        (["sweep", "dcp-save", "--moments", "befor"], "did you mean 'before'?"),
        (["sweep", "dcp-save", "--actions", "hangg"], "did you mean 'hang'?"),
        (["sweep", "dcp-save", "--plan", "writer.reset@9=hang"], "rank 9"),
        (["sweep", "dcp-save", "--plan", "writer.reset"], "column"),
        (["sweep", "dcp-save", "--plan", HANG, "--points", "writer.*"], "leave out --points"),
        (["sweep", "dcp-save", "--report", "sweep.pdf"], ".html or .svg"),
        (["sweep", "dcp-save", "--report", "/no/such/folder/sweep.html"], "--report"),
        (["sweep", "dcp-save", "--json", "."], "directory"),
        (["sweep", "dcp-save", "--jsn", "-"], "--json"),
        (
            ["sweep", "dcp-save", "--kind", "simulated", "--plan", "writer.reset@1=segfault"],
            "nearest is kill(SIGSEGV)",
        ),
        (["replay", "writer.reset@1=segfault", "--kind", "simulated"], "nearest is kill(SIGSEGV)"),
        (["sweep", "dcp-save", "--seed", "-1"], "seed must be"),
        (["sweep", "dcp-save", "--schedules", "3"], "needs --kind simulated or auto"),
        (["sweep", "dcp-save", "--exhaustive", "3", "--schedules", "3"], "leave out one of them"),
        (["sweep", "dcp-save", "--kind", "simulated", "--schedules", "0"], "--schedules"),
        (["replay", HANG, "--schedule", "0,x"], "numbers of threads"),
        (["replay", HANG, "--schedule", "0,1"], "--kind simulated"),
        (["replay", "no-such-file"], "neither a file nor a plan"),
        (["sweep", "dcp-save", "--checks", "leakz"], "did you mean 'leaks'?"),
        (["sweep", "dcp-save", "--checks", "leaks", "--no-check", "leaks"], "no check is left of leaks"),
        (["replay", HOLD, "--no-check", ""], "check must be one of"),
        (["replay", HOLD, "--allow-residue", ""], "allow_residue must be globs"),
        (["replay", "writer.reset=hang; reader.reset=hang"], "--scenario"),
        (["replay", "writer.reset=raise(mine:Error)"], "allow list"),
        (["replay", "writer.reset=raise(mine:Error)", "--allow", "mine:Error"], "no module"),
    ],
)
def test_a_mistake_is_one_line_and_status_two(faultkit, arguments, words):
    status, out, err = faultkit(*arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert err.startswith("faultkit: ")
    assert err.count("\n") == 1


def test_a_scenario_that_fails_by_itself_is_bad_input_and_is_told(faultkit, tmp_path, monkeypatch):
    (tmp_path / "failing_scenario.py").write_text(
        "def save(directory):\n    raise RuntimeError('not today')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    status, out, err = faultkit("sweep", "failing_scenario:save", "--world", 2)
    assert (status, out) == (2, "")
    assert "does not hold without any fault" in err.splitlines()[0]
    assert "not today" in err


def test_which_checks_count_is_chosen_told_and_replayed(faultkit, tmp_path):
    file = tmp_path / "out.json"
    status, out, _ = faultkit(
        "sweep", "dcp-save", "--world", 2, "--plan", HANG, "--no-check", "liveness,agreement", "--json", file
    )
    assert status == 0 and "not checked is liveness, agreement" in out
    assert json.loads(file.read_text())["chosen"]["no_check"] == ["liveness", "agreement"]
    status, out, _ = faultkit("replay", file)
    assert status == 0 and "not checked is liveness, agreement" in out
    assert "--no-check liveness --no-check agreement" in out


@pytest.mark.slow
def test_a_scenario_that_breaks_a_promise_by_itself_is_a_violation_with_json(faultkit, tmp_path, monkeypatch):
    source = (
        "import torch, torch.distributed as dist, torch.distributed.checkpoint as dcp\n"
        "def save(directory):\n"
        "    dcp.save({'weight': torch.ones(8)}, checkpoint_id=directory)\n"
        "    dist.barrier()\n"
        "    if dist.get_rank() == 0:\n"
        "        (directory / '.metadata').unlink()\n"
    )
    for name in ("lossy_scenario", "unseen_scenario"):
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    status, out, _ = faultkit("sweep", "lossy_scenario:save", "--world", 2, "--json", tmp_path / "out.json")
    assert status == 1
    assert "does not hold with nothing broken (LOST_WORK in 5 of 5 runs)" in " ".join(out.split())
    told = (tmp_path / "out.json").read_text()
    assert json.loads(told)["totals"] == {"LOST_WORK": 1}

    # whoever wrote the file may name any code with it, so that is run only where somebody says so
    (tmp_path / "unseen.json").write_text(told.replace("lossy_scenario", "unseen_scenario"))
    status, out, err = faultkit("replay", tmp_path / "unseen.json")
    assert (status, out) == (2, "") and "--trust" in err and "'unseen_scenario:save'" in err
    assert "unseen_scenario" not in sys.modules
    status, out, _ = faultkit("replay", tmp_path / "unseen.json", "--trust")
    assert status == 1 and "LOST_WORK" in out


def test_a_failure_of_the_harness_is_status_three(faultkit, monkeypatch):
    from faultkit import sweep
    from faultkit.worlds import HarnessError

    def fail(*_, **__):
        raise HarnessError("no ranks to be had")

    monkeypatch.setattr(sweep, "sweep", fail)
    status, _, err = faultkit("sweep", "dcp-save", "--world", 2)
    assert status == 3
    assert "the harness failed: no ranks to be had" in err
    assert "--kind fresh" in err


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["points"], ["points", "--json"]])
def test_what_needs_no_torch_does_not_import_it(arguments):
    code = (
        "import sys\nfrom faultkit.cli import main\n"
        f"try:\n    main({arguments!r})\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'rich', 'jinja2', 'cloudpickle'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout


def test_the_command_alone_says_what_it_can_do(faultkit):
    status, out, _ = faultkit()
    assert status == 0
    assert all(word in out for word in ("points", "sweep", "replay", "Exit status"))


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m faultkit points --json | head -c 10"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=SECONDS_MAX, check=True
    )
    assert (len(done.stdout), done.stderr) == (10, "")


@pytest.mark.slow
def test_a_background_job_goes_on_at_the_terminals_ctrl_c(started, tmp_path):
    begun, released = tmp_path / "begun", tmp_path / "released"
    os.mkfifo(begun)
    os.mkfifo(released)
    (tmp_path / "background_scenario.py").write_text(
        "def wait():\n"
        f"    with open({str(begun)!r}, 'w') as stream: stream.write('1')\n"
        f"    with open({str(released)!r}) as stream: stream.read()\n"
    )
    process = started(
        *("replay", "", "--scenario", "background_scenario:wait", "--world", "1"),
        preexec_fn=ignoring_interrupts,
    )
    assert begun.read_text() == "1"
    process.send_signal(signal.SIGINT)
    released.write_text("1")
    out, err = process.communicate(timeout=SECONDS_MAX)
    assert (process.returncode, err) == (0, "") and "HELD" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 130), (signal.SIGKILL, -9)],
)
def test_however_a_sweep_is_ended_ranks_and_directories_go_with_it(started, tmp_path, number, status):
    marks = tmp_path / "marks"
    os.mkfifo(marks)
    (tmp_path / "waiting_scenario.py").write_text(
        "import os\n"
        "def wait(directory):\n"
        f"    with open({str(marks)!r}, 'w') as marks:\n"
        "        marks.write(f'{os.getpid()} {directory}\\n')\n"
        "    while True:\n"
        "        os.getppid()\n"
    )
    reading = os.open(marks, os.O_RDWR)  # for writing, too, so that it has no end where no rank has it open
    process = started("sweep", "waiting_scenario:wait", "--world", "2")
    told = ""
    while told.count("\n") < 2:
        ready, _, _ = select.select([reading, process.stdout], [], [], SECONDS_MAX)
        assert reading in ready, process.communicate()
        told += os.read(reading, 4096).decode()
    os.close(reading)
    of_ranks = [line.split(" ", 1) for line in told.splitlines()]
    directories = {Path(directory).parent for _, directory in of_ranks}
    ranks = [os.pidfd_open(int(pid)) for pid, _ in of_ranks]
    assert all(directory.is_dir() for directory in directories)
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS_MAX)
    assert (process.returncode, out, err) == (status, "", "faultkit: interrupted\n" if status == 130 else "")
    for rank in ranks:
        assert select.select([rank], [], [], SECONDS_MAX)[0], "a rank outlived its sweep"
        os.close(rank)
    until = time.monotonic() + SECONDS_MAX
    while any(directory.exists() for directory in directories):
        assert time.monotonic() < until, "a directory outlived its sweep"
        os.sched_yield()
