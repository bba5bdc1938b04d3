"""The draft of a report: what happens, what should, a script, stacks, known duplicates; nothing of this machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from faultkit import Verdict, World
from faultkit.repro.issue import issue_draft, without_names
from faultkit.scenarios import get

PLAN = "writer.reset@0=raise(ValueError)"


def leaks_names(directory):
    raise ValueError(
        f"```\n# not a heading\n{Path.home()}/secret {os.getcwd()}/x.py {platform.node()} {directory}"
    )


@pytest.fixture(scope="module")
def world():
    with World(2, kind="simulated") as world:
        yield world


@pytest.fixture(scope="module")
def hung(world, tmp_path_factory):
    return world.run(get("dcp-save").function, tmp_path_factory.mktemp("x") / "y", plan=PLAN)


def test_it_says_what_happens_what_should_and_what_is_known(hung):
    assert hung.verdict is Verdict.HUNG
    text = issue_draft(hung, scenario="dcp-save", script="import torch\n")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert headings == [
        "a rank waited for ever, after rank 0: raise(ValueError) at writer.reset",
        "What happens",
        "What should happen",
        "What each rank saw",
        "To reproduce",
        "Versions",
        "Known before",
    ]
    assert "* every live rank returns within the deadline" in text
    assert "gather_object (checkpoint/utils.py:" in text and "```python\nimport torch\n```" in text
    assert "* dcp-error-before-first-collective: " in text


def test_a_script_that_cannot_be_is_told_with_the_reason(hung):
    assert "no script that needs torch alone: since it is so." in issue_draft(
        hung, scenario="dcp-save", why_no_script="since it is so"
    )


def test_nothing_of_this_machine_is_in_it_unless_it_is_asked_for(world, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "build-host-17")
    run = world.run(leaks_names, tmp_path)
    names = (str(Path.home()), os.getcwd(), str(tmp_path), sys.prefix)
    private = issue_draft(run, scenario="mine:save")
    assert not [name for name in names if name in private]
    with_names = issue_draft(run, scenario="mine:save", with_names=True)
    assert f"{Path.home()}/secret" in with_names and str(tmp_path) in with_names
    quoted = private.split("## What each rank saw\n\n")[1]
    fence = re.match(r"(`+)text\n", quoted)[1]
    assert quoted.count(f"\n{fence}\n") == 1  # what is quoted does not end its block


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("at build-host-17:29500", "at HOST:29500"),
        ("on build-host-170", "on build-host-170"),
        (f"File '{tempfile.gettempdir()}/x/y'", "File 'TMP/x/y'"),
        (f"in {sys.prefix}/lib/python3.11/site-packages/torch/x.py:3", "in torch/x.py:3"),
        ("in /opt/python/lib/python3.11/threading.py", "in threading.py"),
    ],
)
def test_names_become_words(monkeypatch, said, left):
    monkeypatch.setattr(platform, "node", lambda: "build-host-17")
    assert without_names(said) == left


@pytest.mark.slow
def test_the_command_writes_it_with_the_script(tmp_path):
    path = tmp_path / "report.md"
    command = [
        sys.executable,
        "-m",
        "faultkit",
        "replay",
        PLAN,
        "--world",
        "2",
        "--kind",
        "simulated",
        "--issue",
        path,
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 1 and f"the draft of a report is in {path}" in done.stderr
    text = path.read_text()
    script = re.search(r"```python\n(.*?)\n```", text, re.DOTALL)[1]
    compile(script, "script", "exec")
    assert str(tmp_path) not in text and "faultkit" not in script.split("# -- how it breaks")[0].replace(
        "injected", ""
    )
