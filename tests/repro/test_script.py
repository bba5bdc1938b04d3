"""Plain scripts: run without faultkit, they show on every rank what the run showed; what they cannot is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from faultkit import FaultPlan, Verdict, World, scenarios
from faultkit.cli import main
from faultkit.repro import script
from faultkit.repro.script import ScriptError, plain_script
from faultkit.repro.script_work import work_of
from faultkit.scenarios import Stage
from faultkit.worlds import Run, observers
from tests.helpers import script_cases
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

RAISE = "writer.write_data@1=raise(ValueError)"

# scenario, plan, verdict of the run
RUNS = (
    ("dcp-save", "writer.write_data@1=raise(OSError, ENOSPC)", "HELD"),
    ("dcp-save", 'writer.write_data:future@0-1=raise(faultkit.hostile:Chained, "token-1")', "HELD"),
    ("dcp-save", "comm.gather_object@1#2=raise(KeyError)", "HUNG"),
    ("dcp-save", "writer.write_data@1=kill(SIGKILL)", "HELD"),
    ("dcp-save", "fs.create_stream@0=exit(3)", "HELD"),
    ("dcp-save", "app.state_dict@1=stop", "HUNG"),
    ("dcp-load", "reader.read_metadata@1=raise(ValueError)", "MASKED"),
    (f"{script_cases.__name__}:save_and_forget", "storage.write_data@*=raise(ValueError)", "MISATTRIBUTED"),
)

# One process imports torch for all scripts; that it has no faultkit is made sure of.
DRIVER = """
import os, runpy, sys
import torch.distributed.checkpoint
sys.modules["faultkit"] = None
running, statuses = {}, {}
def wait_for_one():
    pid, status = os.wait()
    statuses[running.pop(pid)] = os.waitstatus_to_exitcode(status)
for number, (path, deadline) in enumerate(zip(sys.argv[1::2], sys.argv[2::2])):
    if len(running) == 3:
        wait_for_one()
    pid = os.fork()
    if pid == 0:
        output = os.open(path + ".out", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1), os.dup2(output, 2)
        sys.argv = [path, "--deadline", deadline, "--json"]
        status = 99
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 98
        finally:
            sys.stdout.flush()
            os._exit(status)
    running[pid] = number
while running:
    wait_for_one()
print(*(statuses[number] for number in sorted(statuses)))
"""


@pytest.fixture(scope="module")
def two_ranks():
    with World(2, timeout=20.0) as world:
        yield world


@pytest.fixture(scope="module")
def scripts(two_ranks, tmp_path_factory):
    """Each run of `RUNS` with its script, the exit status of the script, and what it printed."""
    folder = tmp_path_factory.mktemp("scripts")
    runs, arguments = [], []
    for number, (name, plan, _) in enumerate(RUNS):
        scenario, seen = scenarios.get(name), []
        with Stage(scenario) as stage, observers.observe_runs(seen.append):
            run = stage.run(two_ranks, plan)
        text = plain_script(run, seen[-1].function, seen[-1].args, seen[-1].kwargs, prepare=scenario.prepare)
        (folder / f"{number}.py").write_text(text)
        runs.append((run, text))
        arguments += [str(folder / f"{number}.py"), "1.5" if run.verdict is Verdict.HUNG else "20"]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        cwd=folder,
    )
    statuses = [int(line) for line in done.stdout.split()]
    assert len(statuses) == len(RUNS), done.stderr
    outputs = [Path(f"{path}.out").read_text() for path in arguments[::2]]
    return {
        case: (run, text, status, output)
        for case, (run, text), status, output in zip(RUNS, runs, statuses, outputs, strict=True)
    }


@pytest.mark.parametrize("case", RUNS, ids=lambda case: case[1])
def test_a_script_shows_on_every_rank_what_the_run_showed(scripts, case):
    run, _, status, output = scripts[case]
    assert run.verdict == case[2]
    [line] = [line for line in output.splitlines() if line.startswith("{")]
    seen = {int(rank): one for rank, one in json.loads(line).items()}
    for rank, outcome in run.outcomes.items():
        assert seen[rank]["kind"] == outcome.kind, output
        if outcome.kind == "raised":
            failures = {int(r): kind for r, kind in seen[rank].get("failures", {}).items()}
            assert seen[rank]["type"] == outcome.type_name
            assert failures == {r: kind for r, (kind, _) in outcome.failures.items()}
        elif outcome.kind == "died":
            assert seen[rank]["type"] == (outcome.signal or f"exit({outcome.exitcode})")
    assert "something else" not in output
    assert status == (0 if run.verdict is Verdict.HELD else 1), output


def test_a_script_says_what_it_breaks_what_each_rank_saw_and_what_is_wrong(scripts):
    _, text, _, output = scripts[RUNS[-1]]
    assert text.startswith('"""MISATTRIBUTED: the wrong ranks were named as failed.')
    assert "what is broken\n  storage.write_data=raise(ValueError)\n" in output
    assert "  rank 1 raised CheckpointException that names rank 0: ValueError\n" in output
    assert "the defect shows: expected of save 1: ranks 0, 1 failed in step 'write'" in output


def test_a_hung_rank_is_shown_with_where_it_stood(scripts):
    output = scripts[RUNS[2]][3]
    assert "rank 0 hung\n" in output and "in gather_object" in output


def test_a_script_names_faultkit_nowhere_but_in_the_plan(scripts):
    for case, (_, text, _, _) in scripts.items():
        code = text.replace(case[1], "").replace("faultkit.hostile:Chained", "")
        for name in ("import faultkit", "from faultkit", "faultkit."):
            assert name not in code


def test_replay_writes_a_script_or_says_why_there_is_none(tmp_path, capsys):
    path = tmp_path / "upstream.py"
    with pytest.raises(SystemExit) as ended:
        main(["replay", RAISE, "--world", "2", "--script", str(path)])
    assert ended.value.code == 0
    assert path.read_text().startswith('"""HELD: every promise was kept.')
    assert f"the plain script is in {path}" in capsys.readouterr().err
    path.unlink()
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "replay",
                "reader.read_data@1=hang",
                "--scenario",
                "dcp-save",
                "--world",
                "2",
                "--script",
                str(path),
            ]
        )
    assert ended.value.code == 2 and not path.exists()
    assert "this run has no plain script: nothing fired" in capsys.readouterr().err


def run_of(plan, **changes):
    given = {
        "plan": FaultPlan.parse(plan),
        "world_size": 2,
        "kind": "warm",
        "outcomes": {},
        "may_not_fire": True,
    }
    return Run(**{**given, **changes})


@pytest.mark.parametrize(
    ("plan", "changes", "function", "args", "reason"),
    [
        (RAISE, {"may_not_fire": False}, script_cases.save_to, ("d",), "nothing fired in this run"),
        ("fs.write@1=lie", {}, script_cases.save_to, ("d",), "beneath the engine's own file layer"),
        ("app.state_dict@1=hang", {}, script_cases.save_to, ("d",), "not known outside of the run"),
        (RAISE, {}, lambda: None, (), "is no function of a module"),
        (RAISE, {}, print, (), "only functions of a module"),
        (RAISE, {}, script_cases.save_to, (object(),), "argument 1, a object, cannot be written"),
        (
            RAISE,
            {},
            script_cases.uses_what_cannot_be_written,
            (),
            "'LOCK' of tests.helpers.script_cases, a object",
        ),
        (RAISE, {}, script_cases.uses_pytest, (), "imports pytest, and the script is to do with torch alone"),
        (RAISE, {}, script_cases.uses_faultkit, (), "imports faultkit, and the script"),
    ],
)
def test_what_a_script_cannot_do_is_refused_with_the_reason(plan, changes, function, args, reason):
    with pytest.raises(ScriptError, match=reason):
        plain_script(run_of(plan, **changes), function, args)


def test_the_source_has_what_the_function_uses_and_nothing_else(tmp_path):
    source, [call] = work_of([script_cases.save_to], (tmp_path,), {"side": 3}, script._reserved_names())
    assert call == "save_to(directory, side=3)"
    assert source.index("import torch") < source.index("SIDE = 4") < source.index("class Model")
    assert source.index("class Model") < source.index("def save_to")
    assert "LOCK" not in source and "mock" not in source


def test_a_name_that_the_script_has_itself_is_refused():
    with pytest.raises(ScriptError, match="'Model' is a name that the script needs for itself"):
        work_of([script_cases.save_to], (), {}, {"torch": script_cases.torch, "Model": None})
