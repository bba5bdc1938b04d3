"""``faultkit crash`` and ``faultkit damage``, as a user meets them."""

from __future__ import annotations

import json
import os
import re
import signal
import sys

import pytest

from faultkit.cli import command, main
from tests.helpers.explorer_data import data_of
from tests.helpers.places import page

pytestmark = pytest.mark.slow

TRAIN = """
import json, os, sys
out = sys.argv[1]
os.makedirs(out, exist_ok=True)
path, state = os.path.join(out, "state.json"), {"step": 0, "sum": 0}
if os.path.exists(path):
    with open(path) as stream:
        state = json.load(stream)
print("resumed from step", state["step"])
while state["step"] < 3:
    state["step"] += 1
    state["sum"] += state["step"]
    with open(path, "w") as stream:
        json.dump(state, stream)
"""


@pytest.fixture
def answering():
    """This process answers Ctrl-C, which a background job does not, and SIGHUP."""
    numbers = (signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    yield
    for number in numbers:
        signal.signal(number, before[number])


@pytest.fixture
def train(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(TRAIN)
    return path


def test_the_crashes_of_a_scenario_are_told_written_and_made_again(faultkit, tmp_path):
    kept, page = tmp_path / "found.crash", tmp_path / "found.html"
    status, out, err = faultkit(
        *("crash", "dcp-overwrite,elements=8", "--model", "killed", "--jobs", 1),
        *("--keep", kept, "--report", page, "--json", "-"),
    )
    found = json.loads(out)
    assert status == 1 and "MIX (allowed: OLD or NEW) killed after" in err
    assert found["complete"] and found["scenario"].startswith("dcp-overwrite")
    data = data_of(page.read_text())
    mixed = next(item for item in data["items"] if item["word"] == "MIX")
    assert mixed["ways"][0][1].startswith(f"faultkit crash --replay {kept}")
    fates = {fate for lane in mixed["drawing"]["lanes"].values() for _, fate, _ in lane}
    assert fates >= {"kept", "later"} and set(mixed["drawing"]["lanes"]) == {"0", "1"}
    summary = next(line for line in err.splitlines() if "states of 1 model judged: " in line)
    assert re.match(r"\d+ violations; \d+ states", summary) and summary in page.read_text()
    assert found["totals"] == found["models"][0]["verdicts"]
    look = tmp_path / "look"
    status, out, err = faultkit("crash", "--replay", kept, "--into", look)
    assert (status, err) == (1, "")
    assert "loaded again: MIX" in out
    assert (look / "checkpoint" / ".metadata").is_file()
    status, _, err = faultkit("crash", "--replay", kept, "--into", look)
    assert status == 2 and "must name a directory that is empty or not there" in err
    status, _, err = faultkit("crash", "--replay", kept, "--into", tmp_path / "b", "--finding", 99)
    assert status == 2 and "--finding must be from 1 to" in err


def test_a_script_is_crashed_and_resumed_as_it_is(faultkit, train, tmp_path):
    kept = tmp_path / "found.crash"
    status, out, err = faultkit(
        *("crash", "--models", "killed", "--jobs", 1, "--result", "{out}/state.json", "--keep", kept),
        *("--", "python", train, "{out}"),
    )
    assert status == 1, err
    assert "ResumeFailed: exit status 1: json.decoder.JSONDecodeError" in out
    assert "train.py:13 in <module>" in out  # the line that opened the file
    assert f"replay: faultkit crash --replay {kept} --into DIR --trust\n" in out
    status, out, _ = faultkit("crash", "--replay", kept, "--into", tmp_path / "look", "--trust")
    assert status == 1 and "loaded again: ERROR" in out


def test_a_pattern_that_finds_nothing_is_no_pass(faultkit, train):
    asked = ("crash", "--models", "killed", "--jobs", 1, "--value")
    status, out, err = faultkit(*asked, r"los (\S+)", "--", "python", train, "{out}")
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert r"the pattern of values 'los (\\S+)' finds nothing in what the command prints" in err


def test_a_script_that_cannot_run_says_so(faultkit, tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("import sys; open(sys.argv[1], 'w'); raise SystemExit('out of luck')")
    status, _, err = faultkit("crash", "--", sys.executable, script, "{out}")
    assert status == 2 and "ended with status 1 before anything was crashed" in err and "out of luck" in err


INTERRUPTING = """
import os, signal, sys
out, caller = sys.argv[1], int(sys.argv[2])
os.makedirs(out, exist_ok=True)
failures = os.path.join(os.path.dirname(__file__), "failures")
if any(os.path.getsize(os.path.join(out, name)) < 3 for name in os.listdir(out)):
    open(failures, "a").write("x")
    if len(open(failures).read()) == 3:
        os.kill(caller, signal.{signal})
        signal.pause()  # until it is ended
    sys.exit("no whole state")
for step in range(20):
    with open(os.path.join(out, f"state{{step}}"), "w") as stream:
        stream.write(f"{{step:03}}")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_what_was_found_until_an_interrupt_is_told_and_written(faultkit, tmp_path, name, answering):
    script, told, kept = tmp_path / "train.py", tmp_path / "found.json", tmp_path / "found.crash"
    script.write_text(INTERRUPTING.format(signal=name))
    status, out, err = faultkit(
        *("crash", "--jobs", 1, "--no-pruning", "--json", told, "--keep", kept),
        *("--", "python", script, "{out}", os.getpid()),
    )
    assert (status, err) == (130, "faultkit: interrupted\n")
    assert "NOT complete" in out and "interrupted: this is what was found by then" in out
    assert "ResumeFailed: exit status 1: no whole state" in out
    found = json.loads(told.read_text())
    assert found["interrupted"] and not found["complete"] and len(found["findings"]) == 1
    assert [model["model"] for model in found["models"]] == ["killed"]
    assert kept.stat().st_size


def test_damage_is_a_table_json_and_a_page(faultkit, tmp_path):
    page, told = tmp_path / "damage.html", tmp_path / "damage.json"
    status, out, err = faultkit(
        *("damage", "dcp-fresh,elements=8", "--world", 1, "--actions", "del*", "--actions", "flip"),
        *("--samples", 1, "--jobs", 1, "--json", told, "--report", page),
    )
    assert (status, err) == (1, "")
    assert "tensor bytes" in out and "WRONG" in out
    cases = json.loads(told.read_text())["cases"]
    assert {case["action"] for case in cases} == {"flip", "delete"}
    assert "tensor bytes" in page.read_text()


def test_damage_that_every_load_notices_exits_with_zero(faultkit):
    status, out, _ = faultkit(
        "damage", "dcp-fresh,elements=8", "--world", 1, "--actions", "delete", "--jobs", 1
    )
    assert status == 0 and "noticed" in out and "WRONG" not in out


def test_a_temporary_directory_may_have_a_long_name(faultkit, tmp_path, monkeypatch):
    from faultkit.processes import directories

    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(directories, "in_memory", lambda: None)  # as where /dev/shm is full
    monkeypatch.setattr("tempfile.tempdir", str(long))
    arguments = (
        "damage",
        "dcp-fresh,elements=8",
        "--world",
        1,
        "--actions",
        "delete",
        "--samples",
        1,
        "--jobs",
        1,
    )
    status, _, err = faultkit(*arguments)
    assert (status, err) == (0, "")
    assert list(long.iterdir()) == []


WRONG = [
    (("crash",), "crash needs a scenario, or a command after --"),
    (("crash", "dcp-overwrit"), "did you mean 'dcp-overwrite'"),
    (("crash", "dcp-fresh", "--models", "kiled"), "did you mean 'killed'"),
    (("crash", "dcp-fresh", "--resume", "x"), "--resume is for a command"),
    (("crash", "dcp-fresh", "--checkpoints", "x"), "--checkpoints is for a command"),
    (("crash", "dcp-fresh", "--report", "x.svg"), "--report must end with .html"),
    (("crash", "dcp-fresh", "--budget", "0"), "--budget must be a number of seconds above 0"),
    (("crash", "dcp-fresh", "--pieces", "0"), "pieces must be a number from 1"),
    (("crash", "dcp-fresh", "--world", "0"), "size must be a number of ranks"),
    (("crash", "dcp-fresh", "--keep", "/no/such/place"), "--keep must lie in a directory"),
    (("crash", "dcp-fresh", "--lost", "-2"), "--lost must be a number from 0, or -1 for any number (got -2)"),
    (("crash", "dcp-fresh,threads=x"), "threads must be a whole number, as 1 is (got 'x')"),
    (("crash", "--", "python", "x.py"), "must hold {out}"),
    (("crash", "--step", r"from (\d+)", "--", "python", "x.py", "{out}"), "step needs checkpoints"),
    (("crash", "--checkpoints", "c*", "--", "python", "x.py", "{out}"), "checkpoints needs step"),
    (("crash", "--", "no-such-program", "{out}"), "'no-such-program' cannot be started: no such program"),
    (
        ("crash", "dcp-fresh", "--", "python", "x.py", "{out}"),
        "a scenario or a command, not both (got 'dcp-fresh'",
    ),
    (
        ("crash", "a.module:save", "--", "python", "x.py", "{out}"),
        "not both (got 'a.module:save' and ",
    ),
    (("crash", "--resume", "no-such {out}", "--", "python", "x.py", "{out}"), "'no-such' cannot be started"),
    (("crash", "--result", "state.json", "--", "python", "x.py", "{out}"), "did you mean '{out}/state.json'"),
    (("crash", "--into", "x"), "--into belongs to --replay"),
    (("crash", "--replay", "x"), "--replay needs --into"),
    (("crash", "dcp-fresh", "--trust"), "--trust belongs to --replay"),
    (("crash", "--replay", "/no/file", "--into", "x"), "cannot be read"),
    (("crash", "--replay", __file__, "--into", "x"), "holds no kept violations"),
    (("damage", "dcp-sav"), "unknown crash scenario"),
    (("damage", "dcp-save", "--actions", "flipp"), "did you mean 'flip'"),
]


@pytest.mark.parametrize(("arguments", "told"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_bad_usage_is_one_line(faultkit, arguments, told):
    status, out, err = faultkit(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("faultkit: ") and err.count("\n") == 1 and told in err


SCRIPTS = {
    "print('boom'); raise SystemExit(3)": r"^faultkit: record: the command .* ended with status 3 and wrote 'boom'",
    "print('nothing')": r"^faultkit: record: no file operation under .*; root must be the directory",
    "import signal; signal.pause()": r"^faultkit: record: the command .* was ended after 1 s: no file operation",
}


@pytest.mark.parametrize("code", SCRIPTS)
def test_a_script_that_fails_does_nothing_or_never_ends_is_told_in_a_line(capfd, tmp_path, code):
    script = tmp_path / "script.py"
    script.write_text(code)
    with pytest.raises(SystemExit) as ended:
        main(["crash", "--timeout", "0.1" if "pause" in code else "60", "--", "python", str(script), "{out}"])
    out, err = capfd.readouterr()  # of all processes
    assert (ended.value.code, out) == (2, "")
    assert err.count("\n") == 1 and re.search(SCRIPTS[code], err)


@pytest.mark.parametrize("name", ["crash", "damage"])
def test_the_page_tells_every_option(name):
    section = page("command-line.md").partition(f"## faultkit {name}\n")[2].partition("\n## ")[0]
    for option in command.commands[name].params:
        if option.opts[0].startswith("--") and option.opts[0] not in ("--programs", "--model"):
            assert f"`{option.opts[0]}" in section, option.opts[0]


def test_a_function_of_a_sweep_is_a_scenario_too(faultkit, tmp_path, monkeypatch):
    (tmp_path / "of_a_sweep.py").write_text(
        "import torch\nimport torch.distributed.checkpoint as dcp\n\n\n"
        "def save(directory):\n    dcp.save({'weight': torch.ones(8)}, checkpoint_id=directory)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    status, out, err = faultkit("crash", "of_a_sweep:save", "--models", "weak", "--world", 1, "--jobs", 1)
    assert status == 1, err
    assert "lost: rename(.metadata.tmp -> .metadata) on rank 0" in out
    status, _, err = faultkit("crash", "of_a_sweep:svae")
    assert status == 2 and "did you mean 'save'" in err
