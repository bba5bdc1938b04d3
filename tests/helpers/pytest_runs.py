"""Runs pytest on a folder of its own in a process of its own, and reads what came of it.

A run that starts ranks costs seconds, so it is made once for all tests that look at it, also for those in
another worker of xdist: the first one makes it, the others read what it left.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import filelock
import psutil

from tests.helpers import brisk
from tests.helpers.interruptible import interruptible
from tests.helpers.places import ROOT
from tests.helpers.stuck import SECONDS_MAX

__all__ = ["Case", "PytestRun", "once", "run_pytest"]

CI_NAMES = ("CI", "BUILD_NUMBER")  # where they are set, pytest shortens nothing
MARK = "TESTS_OF_PLUGIN_MARK"
INI = """[pytest]
addopts = --strict-markers --strict-config -p no:randomly -p no:cacheprovider
junit_family = xunit1
junit_logging = system-out
xfail_strict = true
filterwarnings = error
"""
SUITES = ROOT / "tests" / "plugin" / "suites"


class Case(NamedTuple):
    """What the JUnit file has of one test; `outcome` is passed, failed, error or skipped."""

    outcome: str
    text: str
    output: str
    properties: tuple[tuple[str, str], ...]


class PytestRun(NamedTuple):
    """A pytest session that is over: its exit status, what it printed, its folder and processes left."""

    status: int
    output: str
    folder: Path
    left: tuple[str, ...]

    @property
    def cases(self) -> dict[str, Case]:
        """Each test of the JUnit file by its name with parameters."""
        found = {}
        for case in ElementTree.parse(self.folder / "junit.xml").getroot().iter("testcase"):
            [*ends] = [child for child in case if child.tag in ("failure", "error", "skipped")]
            outcome = {"failure": "failed"}.get(ends[0].tag, ends[0].tag) if ends else "passed"
            text = "\n".join(end.text or "" for end in ends)
            if outcome in ("skipped", "error"):
                text = f"{ends[0].get('message')}\n{text}"
            printed = "".join(child.text or "" for child in case if child.tag == "system-out")
            properties = tuple((p.get("name"), p.get("value")) for p in case.iter("property"))
            found[case.get("name")] = Case(outcome, re.sub("\x1b\\[[0-9;]*m", "", text), printed, properties)
        return found


def run_pytest(folder: Path, *arguments: str, stdin: str = "") -> PytestRun:
    """Run pytest in `folder`; whatever it leaves running is ended, and listed in `left`."""
    (folder / "pytest.ini").write_text(INI)
    with (folder / "conftest.py").open("a") as stream:
        stream.write(f"\n{Path(brisk.__file__).read_text()}")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST") and name not in CI_NAMES
    }
    # slots are for sharing a machine between sessions, and would make this one wait for the others
    mark = uuid.uuid4().hex
    environment |= {MARK: mark, "FAULTKIT_SLOTS": "0", "COLUMNS": "120"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--junitxml=junit.xml", *arguments],
            cwd=folder,
            env=environment,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
            preexec_fn=interruptible,
        )
    finally:
        left = _end_marked(mark)
    return PytestRun(done.returncode, done.stdout, folder, left)


def _end_marked(mark: str) -> tuple[str, ...]:
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(process.cmdline()))
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return tuple(left)


def once(tmp_path_factory, name: str, files: dict[str, str], *arguments: str) -> PytestRun:
    """The one run of `files` under `name` in this session; the first who asks makes it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / f"pytest-run-{name}"
    with filelock.FileLock(str(base / f"pytest-run-{name}.lock")):
        if not (folder / "status.txt").exists():
            for file, text in files.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_text(text)
            run = run_pytest(folder, *arguments)
            (folder / "output.txt").write_text(run.output)
            (folder / "left.txt").write_text("\n".join(run.left))
            (folder / "status.txt").write_text(str(run.status))
    return PytestRun(
        int((folder / "status.txt").read_text()),
        (folder / "output.txt").read_text(),
        folder,
        tuple((folder / "left.txt").read_text().splitlines()),
    )
