"""Whatever is asked for and cannot be meant is one line and status 2, before anything starts or is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import command_lines
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

MODULES = {
    "exits": "import sys\nsys.exit(0)",
    "exits_with_words": "raise SystemExit('words\\nand more')",
    "exits_at_once": "import os\nos._exit(0)",
    "raises": "raise ValueError('one\\ntwo')",
    "raises_more": "raise BaseException",
    "interrupts_nothing": "class Mine(BaseException): pass\nraise Mine('mine')",
    "has_nothing": "",
    "needs_more": "def save(directory, more): pass",
    "no_function": "save = 3",
    "attribute_raises": "def __getattr__(name): raise RuntimeError(name)",
    "not_python": "def save(:",
    "imports_nothing_there": "import no_such_module_at_all\ndef save(directory): pass",
    "sound": "def save(directory): pass",
    "evil": "open('ran', 'w')\nclass Error(Exception): pass\ndef save(directory): pass",
    "train": "",
}
FILES = {
    "empty.txt": b"",
    "blank.txt": b" \n\t\n",
    "empty.json": b"\xef\xbb\xbf",
    "no_plan.txt": b"to whom it may concern",
    "binary.plan": bytes(range(256)),
    "nested.json": b'{"faults": ' + b"[" * 100_000,
    "many.json": json.dumps({"faults": [{"point": "writer.reset", "action": {"name": "hang"}}] * 10_001}).encode(),
    "wrong.json": b'{"faults": [{"point": "writer.reset", "action": {"name": "raise", "exception": "os:system"}}]}',
    "list.json": b"[]",
    "number.json": b"7",
    "torn.json": b'{"plans": [{"plan": "writer.reset=hang"}',
    "other.json": b'{"name": "somebody\'s package"}',
    "twice.json": b'{"faults": [], "faults": []}',
    "no_plans.json": b'{"plans": []}',
    "plans.json": b'{"plans": 1}',
    "entry.json": b'{"plans": [{"plan": 1}]}',
    "world.json": b'{"plans": [{"plan": ""}], "world": "4"}',
    "kind.json": b'{"plans": [{"plan": ""}], "kind": 4}',
    "order.json": b'{"plans": [{"plan": "", "seed": "x"}]}',
    "unknown_world.json": b'{"plans": [{"plan": ""}], "world": 0}',
    "unknown_kind.json": b'{"plans": [{"plan": ""}], "kind": ""}',
    "no_scenario.json": b'{"plans": [{"plan": ""}], "scenario": ""}',
    "long.txt": b"writer.reset=hang;" * 60_000,
    "named.json": b'{"plans": [{"plan": ""}], "scenario": "sound:save", "world": 2, "kind": "warm"}',
    "sound.json": b'{"plans": [{"plan": ""}], "scenario": "dcp-save", "world": 2, "kind": "warm"}',
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("absurd")
    for name, code in MODULES.items():
        (place / f"{name}.py").write_text(code)
    for name, content in FILES.items():
        (place / name).write_bytes(content)
    for name, text in command_lines.CRAFTED.items():
        (place / name).write_text(text)
    return place


@pytest.fixture(scope="module")
def ended(place):
    """Runs command lines in one process; gives (status, output, error, whether torch was imported) of each."""

    def run(lines, **environment):
        done = subprocess.run(
            [sys.executable, "-B", command_lines.__file__],
            input="".join(json.dumps(line) + "\n" for line in lines),
            capture_output=True,
            text=True,
            cwd=place,
            env={**os.environ, **environment},
            timeout=SECONDS_MAX,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        found = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
        assert len(found) == len(lines)
        return found

    return run


def test_each_is_one_line_and_status_two_and_starts_and_writes_nothing(ended, place):
    assert len(command_lines.ABSURD) >= 1000
    assert len({tuple(line) for line in command_lines.ABSURD}) == len(command_lines.ABSURD)
    before = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    wrong = {}
    for line, found in zip(command_lines.ABSURD, ended(command_lines.ABSURD), strict=True):
        status, output, error, has_torch = found
        is_one_line = error.startswith("faultkit: ") and error.endswith("\n") and error[:-1].isprintable()
        if (status, output, has_torch) != (2, "", False) or not is_one_line or len(error) > 1500:
            wrong[json.dumps(line)[:200]] = found
    assert wrong == {}
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == before


def test_more_than_fifty_are_files_that_somebody_crafted():
    # that nothing in them was run, the test above has seen: what they name would have written a file
    assert len(command_lines.CRAFTED) > 50


def test_the_guard_sees_what_sound_command_lines_start(ended):
    found = dict(zip(map(tuple, command_lines.SOUND), ended(command_lines.SOUND), strict=True))
    assert {line: one for line, one in found.items() if one[:2] != ("started", "")} == {}


@pytest.mark.parametrize("slots", ["abc", "99999999"])
def test_a_setting_that_cannot_be_meant_is_a_mistake_too(ended, slots):
    lines = [
        line for line in command_lines.SOUND if line[0] in ("sweep", "replay", "crash", "damage", "scale")
    ]
    for status, output, error, has_torch in ended(lines, FAULTKIT_SLOTS=slots):
        assert (status, output, has_torch) == (2, "", False), error
        assert (
            error.startswith("faultkit: FAULTKIT_SLOTS must be a number of slots") and error.count("\n") == 1
        )


TOLD = {
    "exits": "it calls sys.exit(0)",
    "exits_with_words": "it calls sys.exit('words\\nand more')",
    "exits_at_once": "it calls os._exit(0)",
    "raises": "ValueError: one\n",
    "attribute_raises": "RuntimeError: save",
    "imports_nothing_there": "No module named 'no_such_module_at_all'",
}


def test_what_a_module_did_that_cannot_be_imported_is_told_by_every_command(ended):
    commands = [("sweep",), ("crash",), ("damage",), ("scale",), ("replay", "", "--scenario")]
    lines = {(*command, f"{name}:save"): told for command in commands for name, told in TOLD.items()}
    for (line, told), (status, _, error, _) in zip(lines.items(), ended(list(lines)), strict=True):
        assert status == 2 and told in error, line
