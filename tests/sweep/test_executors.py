"""A sweep in chunks, on whatever runs them: the same results, whoever dies, and nothing that is left behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from faultkit.cli import main
from faultkit.exceptions import HarnessError, ScenarioError
from faultkit.scenarios import DCP_SAVE
from faultkit.sweep import sweep
from faultkit.sweep.chunks import Chunk, Travelling, bodies, run_body
from faultkit.sweep.journal_file import read_journal
from faultkit.sweep.schedules import Schedules
from tests.helpers.work_in_chunks import told

SIMULATED = {"world": 2, "kind": "simulated"}


@pytest.fixture(scope="module")
def whole():
    return sweep("dcp-save", **SIMULATED, points=["writer.*"])


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", ThreadPoolExecutor])
def test_chunks_come_to_what_one_world_comes_to(executor, whole, tmp_path):
    path = str(tmp_path / "journal")
    found = sweep("dcp-save", **SIMULATED, points=["writer.*"], executor=executor, jobs=2, journal_path=path)
    assert told(found) == told(whole) and found.totals == whole.totals and not found.is_cut_off
    assert len(read_journal(path)[1]) == len(whole.results)


def of(mark: str) -> list[psutil.Process]:
    """The processes that have `mark` in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FAULTKIT_TEST_MARK") == mark and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_nothing_is_left_whatever_ends_it(number, status, tmp_path):
    journal = tmp_path / "journal"
    with subprocess.Popen(
        [sys.executable, "-m", "faultkit", "sweep", "dcp-save", "--world", "2", "--points", "*",
         "--executor", "processes", "--jobs", "1", "--resume", str(journal)],
        env={**os.environ, "FAULTKIT_TEST_MARK": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as running:  # fmt: skip
        while running.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 2):
            os.sched_yield()
        os.killpg(running.pid, number) if number == signal.SIGINT else running.kill()
        error = running.stderr.read() if number == signal.SIGINT else b""
        running.wait()
    _, alive = psutil.wait_procs(of(str(tmp_path)), timeout=60)
    assert running.returncode == status and not alive
    assert number == signal.SIGKILL or error == b"faultkit: interrupted\n"
    assert len(read_journal(str(journal))[1]) >= 1


@pytest.mark.parametrize(
    ("executor", "why"),
    [
        ("rays", "must be one of processes, ray, dask, submitit (got 'rays'); did you mean 'ray'?"),
        ("dask", "executor dask needs the address of a scheduler"),
        ("processes:4", "executor processes takes nothing behind it"),
    ],
)
def test_an_executor_that_cannot_be_meant_is_refused(executor, why, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "dcp-save", "--executor", executor])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and why in error and len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("executor", "package", "extra"),
    [("ray", "ray", "ray"), ("submitit", "submitit", "slurm"), ("dask:a", "distributed", "dask")],
)  # fmt: skip
def test_a_package_that_is_missing_is_told_with_what_installs_it(
    executor, package, extra, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "dcp-save", "--executor", executor])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and len(error.splitlines()) == 1
    assert (
        f"requires {package}, which is not installed; install it by: pip install 'faultkit[{extra}]'" in error
    )


def chunk(scenario=DCP_SAVE):
    return Chunk(
        sweep="one", scenario=scenario, world=1, kind="simulated", timeout=5.0, launcher="none", ranks_differ=False,
        attempts_after=0, schedules=Schedules(), may_not_fire=True, story=False, were_reached=False,
    )  # fmt: skip


def test_a_worker_without_faultkit_says_so():
    code = (
        "import pickle, sys\n"
        "sys.modules['faultkit'] = None\n"
        "call = pickle.loads(sys.stdin.buffer.read())\n"
        "print(call(b'')[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(Travelling()), capture_output=True, check=True
    )
    assert b"the worker on " in done.stdout and b"has no module 'faultkit'" in done.stdout


@pytest.mark.parametrize("package", ["faultkit", "torch"])
def test_a_worker_of_another_version_says_so(package):
    about, inner = pickle.loads(bodies(chunk())((), (), None, None))
    done = run_body(pickle.dumps(({**about, package: "0.1"}, inner)))
    assert isinstance(done.error, HarnessError) and f"has {package} " in str(done.error)


def test_a_worker_without_the_module_of_the_scenario_says_so(tmp_path, monkeypatch):
    (tmp_path / "only_over_there.py").write_text("def save(directory): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_over_there

    from faultkit.scenarios import scenario_of

    body = bodies(chunk(scenario_of(only_over_there.save)))((), (), None, None)
    monkeypatch.delitem(sys.modules, "only_over_there")
    Path(tmp_path, "only_over_there.py").unlink()
    done = run_body(body)
    assert isinstance(done.error, ScenarioError)
    assert "cannot have the scenario: ModuleNotFoundError: No module named 'only_over_there'" in str(
        done.error
    )
