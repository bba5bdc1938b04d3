"""The examples that need nothing else do what their READMEs say: each twin, each suite, each command."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from faultkit import cli
from faultkit.sweep import sweep
from tests.helpers.places import ROOT
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

PAGES = [
    *sorted((ROOT / "examples").rglob("*.md")),
    ROOT / "docs" / "how-to.md",
]
NOT_HERE = ("mypkg.", "PLAN")
COMMANDS = sorted(
    {
        line
        for page in PAGES
        for line in re.findall(r"(?:`|^ {4}|^\$ )(faultkit (?:[^`\n#]|#\d)+)", page.read_text(), re.MULTILINE)
        if not any(word in line for word in NOT_HERE)
    }
)


IMPORTS = """
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import FileSystemWriter as MyWriter

"""


def words(scenario, **options):
    """The verdict of each plan of a sweep, by what it breaks: ``{"fs.open@0": "HUNG"}``."""
    journal = sweep(scenario, world=2, **options)
    assert journal.baseline is None, journal.results[0].violations
    return {str(result.plan).partition("=")[0]: str(result.verdict) for result in journal.results}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_shown_is_one_that_can_be_given(line):
    _, name, *arguments = shlex.split(line)
    context = cli.command.commands[name].make_context(name, list(arguments))
    assert context.params


@pytest.mark.parametrize(
    ("suite", "options", "told"),
    [
        ("custom_writer", [], "2 passed"),
        ("ci_suite", [], "1 failed, 2 passed"),
        ("ci_suite", ["--faultkit-known", "examples/ci_suite/known.toml"], "2 passed, 1 xfailed"),
        ("ci_suite", ["--faultkit-known", "builtin"], "2 passed, 1 xfailed"),
    ],
)
def test_a_suite_ends_as_it_says(suite, options, told):
    command = [
        sys.executable,
        "-m",
        "pytest",
        f"examples/{suite}",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert told in done.stdout, done.stdout + done.stderr


def test_the_writer_that_swallows_loses_work_and_the_other_holds():
    full = {"points": ["writer.write_data"], "actions": ["raise(OSError, ENOSPC)"]}
    swallowed = words("examples.custom_writer.writers:save_swallowing", **full)
    assert swallowed["writer.write_data@1"] in ("LOST_WORK", "PARTIAL")
    assert set(words("examples.custom_writer.writers:save_telling", **full).values()) == {"HELD"}


def test_the_tests_of_the_short_answers_pass(tmp_path):
    page = (ROOT / "docs" / "how-to.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_shown.py").write_text(IMPORTS + "\n\n".join(blocks))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "test_shown.py", "--strict-markers", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert "3 passed" in done.stdout and len(blocks) == 2, done.stdout + done.stderr
