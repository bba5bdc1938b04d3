"""What the README shows is true: its tests pass, its picture is what is printed, commands and links exist."""

from __future__ import annotations

import html
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from faultkit import FaultPlan, cli
from tests.helpers import brisk
from tests.helpers.places import ROOT
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHOWN = re.findall(r"(?:^    .+\n)+", README, re.MULTILINE)
TESTS = "\n\n".join(BLOCKS)
CONFTEST = (
    Path(brisk.__file__).read_text()
    + """
import hypothesis

hypothesis.settings.register_profile("few", max_examples=20)
hypothesis.settings.load_profile("few")
"""
)
FULL_DISK = "writer.write_data@2=raise(OSError, ENOSPC)"


def finish(folder, *command, status=0):
    # no slots: they would make it wait for what else runs on this machine
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment | {"FAULTKIT_SLOTS": "0", "COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def test_the_tests_shown_pass(tmp_path):
    options = "--strict-markers -rA -p no:randomly -p no:cacheprovider"
    (tmp_path / "pytest.ini").write_text(f"[pytest]\naddopts = {options}\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_shown.py").write_text(TESTS)
    printed = finish(tmp_path, sys.executable, "-m", "pytest", "test_shown.py")
    for name in (
        f"test_a_full_disk_is_known_to_every_rank[{FULL_DISK}]",
        "test_every_failure_reaches_every_rank",
    ):
        assert f"PASSED test_shown.py::{name}\n" in printed
    assert "2 passed" in printed


def test_the_picture_is_what_the_command_prints(tmp_path):
    finish(tmp_path, sys.executable, ROOT / "docs" / "capture.py", tmp_path / "again.svg")
    kept, again = (told(path) for path in (ROOT / "docs" / "first-finding.svg", tmp_path / "again.svg"))
    assert "HUNG" in kept and "waiting in barrier, for rank 0" in kept and kept == again


def told(picture):
    """Its text, without what differs from one machine, torch or run to the next."""
    text = html.unescape(" ".join(re.findall(r"<text [^>]*>(.*?)</text>", picture.read_text())))
    text = " ".join(re.sub(r"torch [^:]+|[\d.]+\ss|\.py:\d+", "…", text).split())
    return text.partition("at barrier")[0]


def lines_that_begin_with(program):
    lines = [line.strip().partition("#")[0] for text in SHOWN for line in text.splitlines()]
    return [line.strip() for line in lines if line.startswith(f"{program} ")]


@pytest.mark.parametrize("line", lines_that_begin_with("faultkit"))
def test_a_command_shown_is_one_that_can_be_given(line):
    _, name, *arguments = shlex.split(line)
    context = cli.command.commands[name].make_context(name, list(arguments))
    if name in ("sweep", "replay"):
        assert context.params["world_size"] in (2, 4)
    if name == "replay":
        assert FaultPlan.parse(arguments[0])


def test_the_targets_and_programs_shown_exist():
    targets = [line.split()[1] for line in lines_that_begin_with("make")]
    assert targets == ["demo", "test", "test-fast"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)


def test_the_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)", README)
    assert links and all((ROOT / link).is_file() for link in links if "://" not in link)
