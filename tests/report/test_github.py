"""A job of GitHub Actions shows what is new, and obeys nothing that a rank says; the action's own steps run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from faultkit.messages import printable
from faultkit.report import github
from faultkit.report.output import show
from tests.helpers.sweep_journals import HUNG, journal, result

HOSTILE = (
    "::set-output name=x::y\n  ::stop::z\n##[group]x\n%0A::error::\r\n<img src=x onerror=a>`|*_[l](u)@all"
)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def job(tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("of another step\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return summary


def test_what_is_new_is_told_and_what_is_known_is_named(job):
    rows = [
        ("HUNG", "rank 1 waits", "faultkit replay x", ""),
        ("MIX", "old and new", "", "overwritten-in-place"),
    ]
    [line] = github.tell("dcp-save on 2 ranks", {"HUNG": 1, "MIX": 1}, rows)
    assert line == "::error title=faultkit%3A HUNG::rank 1 waits%0Afaultkit replay x"
    text = job.read_text()
    assert text.startswith("of another step\n### dcp-save on 2 ranks\n")
    assert "1 HUNG, 1 MIX" in text and "<pre>faultkit replay x</pre>" in text
    assert "1 known: overwritten-in-place" in text and "old and new" not in text


def test_nothing_that_a_rank_says_is_obeyed_or_markup(job):
    lines = github.tell(
        HOSTILE, {HOSTILE: 1}, [(HOSTILE, HOSTILE, HOSTILE, ""), (HOSTILE, HOSTILE, HOSTILE, HOSTILE)]
    )
    lines.append(github.annotation(HOSTILE, HOSTILE, file="a,line=9::b", line=3))
    for line in lines:
        assert "\n" not in line and "\r" not in line
        head, properties, message = re.fullmatch(r"(::error )([^:]*)::(.*)", line).groups()
        assert "##[" not in message and head
        assert {part.partition("=")[0] for part in properties.split(",")} <= {"title", "file", "line"}
    summary = job.read_text()
    assert (
        "<img" not in summary
        and "`" not in summary
        and "@all" not in summary.replace("<pre>", "").split("##\\[")[0]
    )
    assert not [
        line for line in printable(HOSTILE).splitlines() if line.lstrip().startswith("::") or "##[" in line
    ]


@pytest.mark.parametrize("before", ["word " * 20, "z" * 500], ids=["words", "one word"])
def test_a_line_that_begins_where_a_text_was_broken_is_not_obeyed(job, monkeypatch, capsys, before):
    monkeypatch.setenv("COLUMNS", "80")
    for length in range(80):  # one of these has a line end just before the colons
        evidence = f"{'y' * length}{before}::add-mask::a"
        show(journal(result("writer.reset@0=hang", HUNG, evidence)), stories=False, to_stderr=False)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.lstrip().startswith("\\::add-mask") for line in lines)
    assert not [line for line in lines if line.lstrip().startswith("::")]


def test_elsewhere_nothing_is_written_or_changed(tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert github.tell("x", {"HUNG": 1}, [("HUNG", "x", "", "")]) == []
    assert not (tmp_path / "summary.md").exists()
    assert printable("::error::x") == "::error::x"


def test_a_summary_that_is_full_stays_as_it_is(job):
    job.write_text("x" * github.SUMMARY_BYTES_MAX)
    assert len(github.tell("x", {"HUNG": 1}, [("HUNG", "x", "", "")])) == 1
    assert job.stat().st_size == github.SUMMARY_BYTES_MAX


TESTS = """
def test_fails(record_property):
    record_property("faultkit_verdict", "HUNG")
    print("::error::by the test itself")
    assert 1 == 2


def test_passes(record_property):
    record_property("faultkit_verdict", "HELD")


def test_of_nothing_of_ours():
    assert 3 == 4
"""


def test_a_test_that_broke_a_promise_is_annotated_at_its_line(pytester, job, monkeypatch):
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path.parent))
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_inprocess("-p", "no:randomly")
    told = [line for line in result.stdout.lines if line.startswith("::error title")]
    [line] = told
    name = pytester.path.name
    assert line.startswith(f"::error title=faultkit%3A HUNG,file={name}/test_a_test_that_broke_a_promise")
    assert ",line=1::" in line and "assert 1 == 2" in line
    assert "1 HUNG, 1 HELD" in job.read_text() and "3 == 4" not in job.read_text()


def steps_of_the_action():
    """The shell steps of action.yml, as (name, script): read by hand, since nothing of ours needs YAML."""
    text = (ROOT / "action.yml").read_text()
    found = {}
    for step in re.split(r"(?m)^    - name: ", text)[1:]:
        name, body = step.split("\n", 1)
        if block := re.search(r"(?m)^      run: \|\n((?:        .*\n)+)", body):
            found[name] = re.sub(r"(?m)^        ", "", block[1])
        elif line := re.search(r"(?m)^      run: (.*)$", body):
            found[name] = line[1]
    return found


@pytest.mark.slow
def test_the_steps_of_the_action_run_as_they_are_written(tmp_path):
    """Each with `bash -e -o pipefail`, as the runner does it, and what comes out is what would be kept."""
    steps = steps_of_the_action()
    assert list(steps) == ["Install", "Check", "Test"]
    (tmp_path / "test_it.py").write_text(TESTS)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ARTIFACTS": "kept pages",
        "INSTALL": "--no-index --no-deps pip",
        "INDEX": "",
        "CHECK": "reference --budget 1 --world 1",
        "KNOWN": "builtin",
        "TESTS": "test_it.py -q -p no:cacheprovider",
    }
    status = {}
    for name, script in steps.items():
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        status[name] = done.returncode, done.stdout + done.stderr
    assert {name: code for name, (code, _) in status.items()} == {"Install": 0, "Check": 0, "Test": 1}, status
    kept = {path.name for path in (tmp_path / "kept pages").iterdir()}
    assert kept == {"check.json", "check.html", "tests.html", "tests.xml"}
