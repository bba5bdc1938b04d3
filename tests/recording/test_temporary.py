"""What a program moves into place from its TMPDIR is recorded as that, and its other temporary files are not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from faultkit.recording import Operation, Recording, describe_all, record_command
from faultkit.recording.temporary import without_unrelated

SCRIPT = """
import os, shutil, sys, tempfile
out = sys.argv[1]
with tempfile.TemporaryFile() as file: file.write(b"scratch")
with tempfile.NamedTemporaryFile(delete=False) as left: left.write(b"left there")
folder = tempfile.mkdtemp()
with open(folder + "/part", "wb") as file: file.write(b"state")
os.rename(folder + "/part", folder + "/whole")
os.rename(folder + "/whole", out + "/state")
os.rmdir(folder)
"""


def test_a_rename_from_the_temporary_directory_is_told_with_all_that_made_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    (tmp_path / "root" / "out").mkdir(parents=True)
    recording = record_command(
        [sys.executable, str(script), str(tmp_path / "root" / "out")], root=tmp_path / "root", temporary="tmp"
    ).recording
    assert recording.before == {"out": None, "tmp": None}
    told = [one for one in recording.operations if one.kind != "returned"]
    folder = told[0].path
    assert [(one.kind, one.path, one.target) for one in told] == [
        ("mkdir", folder, ""),
        ("open", f"{folder}/part", ""),
        ("write", f"{folder}/part", ""),
        ("close", f"{folder}/part", ""),
        ("rename", f"{folder}/part", f"{folder}/whole"),
        ("rename", f"{folder}/whole", "out/state"),
        ("rmdir", folder, ""),
    ]
    assert [one.index for one in recording.operations] == list(range(8))


def operation(kind, path="", **fields):
    return {"rank": 0, "thread": 0, "kind": kind, "path": path, **fields}


def kept(*operations, before=()):
    made = tuple(Operation(index=place, **one) for place, one in enumerate(operations))
    recording = Recording("/r", 1, 1, "python", {"tmp": None, **dict.fromkeys(before, b"")}, made)
    return without_unrelated(recording, "tmp")


def test_moves_in_either_direction_and_links_are_followed():
    recording, is_told = kept(
        operation("rename", "out/old", target="tmp/old"),  # moved away, to be removed there
        operation("unlink", "tmp/old/a"),
        operation("open", "tmp/other"),
        operation("link", "tmp/b", target="out/b"),
        operation("mkdir", "tmp"),
        operation("rename", "tmp/other", target="tmp/another"),
        before=("tmp/b", "tmp/c"),
    )
    assert describe_all(recording) == (
        "rename(out/old -> tmp/old) on rank 0",
        "unlink(tmp/old/a) on rank 0",
        "link(tmp/b -> out/b) on rank 0",
        "mkdir(tmp) on rank 0",
    )
    assert set(recording.before) == {"tmp", "tmp/b"}
    assert [name for name in ("out/x", "tmp", "tmp/b", "tmp/old/x", "tmp/other") if is_told(name)] == [
        "out/x", "tmp", "tmp/b", "tmp/old/x",
    ]  # fmt: skip


def test_who_waited_for_what_is_left_out_waits_for_what_was_done_before():
    recording, _ = kept(
        operation("open", "out/a", thread=1),
        operation("open", "tmp/x", thread=1),
        operation("thread", phase="wait", number=1, after=1),
        operation("open", "tmp/y", thread=2),
        operation("thread", phase="wait", number=2, after=3),
        operation("open", "out/b"),
    )
    assert [(one.kind, one.after) for one in recording.operations] == [
        ("open", -1),
        ("thread", 0),
        ("open", -1),
    ]


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or os.stat("/dev/shm").st_dev == os.stat("/var").st_dev,
    reason="needs two file systems",
)
def test_a_rename_from_another_file_system_that_fails_is_noted(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, shutil, sys\nshutil.move(sys.argv[1], sys.argv[2] + '/state')\n")
    (tmp_path / "elsewhere").write_text("x")
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as root:
        if os.stat(root).st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("needs two file systems")
        recording = record_command(
            [sys.executable, str(script), str(tmp_path / "elsewhere"), root], root=root
        ).recording
    (note,) = recording.notes
    assert "rename into the recorded directory failed, since two file systems hold them here" in note
